/* What the C that wasm2c writes runs on, and the module's memory as the host sees it. */

#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdint.h>

/* Makes the module's memory, and calls its `run`. Returns the exit code. */
int start_module(void);

/* Bytes by which the module's memory may still grow. */
uint32_t module_room(void);

/* Where the module's bytes lie, in their order, for one call of the host; they go back by
 * give_back before the module runs on, as where the CPU is big-endian its memory lies back to
 * front. Lent pieces must not overlap. Bytes that are not the module's end the program. */
void *lend(uint32_t at, uint32_t len);
void give_back(uint32_t at, uint32_t len);

/* Ends the program: module and host do not fit together. */
void broken(const char *why) __attribute__((noreturn));

#endif
