/* A program of this machine that runs one of another CPU: PROGRAM, by the words of EMULATOR, of
 * which "@" stands for the name that it was called by. It can be copied, linked to and executed
 * like the program itself, whether or not the kernel knows the emulator; the process, its
 * environment and its argv stay what they are, which a shell script would not see to. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 16 };

int main(int argc, char **argv) {
    static char emulator[] = EMULATOR;
    char *words[WORDS + argc + 2];
    int n = 0;
    for (char *word = strtok(emulator, " "); word && n < WORDS; word = strtok(0, " "))
        words[n++] = strcmp(word, "@") == 0 ? argv[0] : word;
    words[n++] = PROGRAM;
    for (int i = 1; i < argc; i++)
        words[n++] = argv[i];
    words[n] = 0;
    execv(words[0], words);
    perror(words[0]);
    return 126;
}
