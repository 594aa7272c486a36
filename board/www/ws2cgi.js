/* ws2cgi.js: a connection to a ws2cgi event program that comes back by itself, whatever the web
 * server can do. One file, nothing else needed:
 *
 *     <script src="ws2cgi.js"></script>
 *     <script>
 *     const chat = new Ws2cgi('/cgi-bin/nph-ws/chat');
 *     chat.onmessage = event => console.log(event.data);
 *     chat.send('hello');                              // waits until there is a connection
 *     </script>
 *
 * It is used like a WebSocket. It tries a WebSocket, then server-sent events, then long polls; by
 * the latter two, messages go up by POST. What worked is kept in localStorage for an hour, so the
 * next page begins with it.
 *
 * new Ws2cgi(URL, {OPTIONS}): URL as a page names it (`chat`, `/cgi-bin/nph-ws/chat?nick=anna`,
 * `https://board/…`). The options, all of them properties that may be changed at any time:
 *
 *     transports   ['websocket', 'sse', 'poll']: those to try, in this order. One alone is forced
 *     post         where POSTs go: by default URL with ws-post for nph-ws, or post-NAME for nph-NAME
 *     binaryType   'blob' (or 'arraybuffer'): what a binary message comes as
 *     resend       false; true: send again what may have got lost (see `lost`)
 *     patience     5000 ms: no first word of the server for so long: the next transport
 *     least, most  500, 20000 ms: the pause before a new try, which doubles from one to the other,
 *                  give or take a half, so that a restarted board isn't met by all pages at once
 *     remember     3600000 ms: after that the next connection tries the best transport again
 *
 * Properties: url (a new one counts from the next connection on), readyState (CONNECTING also while
 * it waits to try again, OPEN, CLOSING, CLOSED), transport (the one in use, '' while not open),
 * pending (messages not known to have arrived).
 *
 * Methods: send(TEXT | Blob | ArrayBuffer | a view of one), close(CODE, REASON), and restart(),
 * which forgets what worked and begins anew with the best transport.
 *
 * Events, by `on…` or addEventListener:
 *
 *     open      there is a connection, the first or a further one
 *     message   data: a text, or bytes. What a program answers to a POST is a message too; it may
 *               overtake one that the program has sent another way
 *     gap       messages are missing here: the connection was lost, and what was sent meanwhile is
 *               not in the daemon's history (any more: --history). Messages to one connection's id
 *               are in no history
 *     lost      data: a message that send() took, and that is not sent again: the connection broke
 *               before the daemon said that it was done (status 0: it may have run), or the answer
 *               to its POST was an error (status: the HTTP status). After a close all those that
 *               wait are lost. Nothing else is ever dropped, doubled or overtaken
 *     error     the connection broke, or could not be made; code, reason, and wait: ms until the
 *               next try
 *     close     it is over: code, reason
 *
 * What ends it: close(), a close by the server with 1000, 1008 or one of the application's own codes
 * (3000 to 4999), and a refusal (4xx) that a poll is given: code 4000 + the HTTP status, 4403 for
 * 403. Anything else (1001 of a daemon that stops, 1006, 1011, 1012, 1013) is followed by new tries,
 * for ever, and by a resumption with the mark of the last message. A program that is told of a close
 * by the page learns its code from a WebSocket only; else 1000 (polls) or 1006 (events).
 *
 * ES2015, and EventTarget as a constructor: Chrome 64, Firefox 59, Safari 14, or newer.
 */
'use strict';
(() => {
  const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
  const WAIT = 25;      // seconds that a poll is held, at most
  const TIMEOUT = 35000;
  const HELD = 5000;    // ms: a connection that held so long makes the pause short again
  const BRIEF = 1000;   // one that broke before was none: busybox httpd and apache end a WebSocket at once
  const LOYALTY = 3;    // tries with the transport that has worked, before the others get theirs

  const { now } = Date;
  const isText = data => typeof data == 'string';
  const textOf = bytes => new TextDecoder().decode(bytes);
  const bytesOf = base64 => Uint8Array.from(atob(base64), letter => letter.charCodeAt());
  const attempt = call => {
    try {
      return call();
    } catch (e) {}
  };

  // An HTTP request, a GET if it has no body; its Content-Type is the body's. Status 0: no answer
  // has come.
  const ask = (url, body, then) => {
    const request = new XMLHttpRequest();
    request.open(body == null ? 'GET' : 'POST', url);
    request.responseType = 'arraybuffer';
    request.timeout = TIMEOUT;
    request.onloadend = () =>
      then(request.status, new Uint8Array(request.response || 0), name => request.getResponseHeader(name));
    request.send(body);
    return request;
  };

  self.Ws2cgi = class extends EventTarget {
    constructor(url, options) {
      super();
      const me = Object.assign(this, {
        url, post: '', transports: ['websocket', 'sse', 'poll'],
        patience: 5000, least: 500, most: 20000, remember: 3600000, CONNECTING, OPEN, CLOSING, CLOSED,
      }, options);

      let state;              // readyState
      let turn = 0;           // counts tries: nobody listens to what an earlier one has yet to say
      let name, at, loyalty;  // the transport of this one; its place in the list; its tries left
      let drop, give;         // ends it, while there is one; sends by it, if that is not by POST
      let since, pause = me.least;
      let mark, missed;       // of the last message; this try goes on from nowhere
      let id, key;            // of a connection whose messages go up by POST
      let queue = [];         // messages not sent
      let posting = [];       // the one whose POST is on its way
      let posts = 0;          // the number of the last: a browser may repeat one, and not tell
      let flight = [];        // those of this WebSocket that are not known to be done
      let ending;             // what close() wants

      const emit = (type, more) => {
        me.addEventListener(type, me['on' + type], { once: true }); // none is none
        me.dispatchEvent(Object.assign(new Event(type), more));
      };
      const hear = data => state < CLOSING && emit('message', { data: data.buffer || data });
      const lose = (messages, status) => messages.forEach(data => emit('lost', { data, status }));
      const live = (call, mine = turn) => (...all) => mine == turn && call(...all);
      const become = next => me.readyState = state = next;

      // ---- addresses, and what has worked

      const address = more => {
        const to = new URL(me.url, location);
        to.search += (to.search ? '&' : '?') + 'via=' + name + more + (mark ? '&since=' + mark : '');
        return to;
      };
      const chain = () => id ? `&id=${id}&key=${key}` : '';

      // A page may have no storage.
      const item = 'ws2cgi ' + me.url.split('?')[0];
      let [known, when] = attempt(() => localStorage[item].split(' ')) || [];
      const old = () => now() - when > me.remember;
      at = old() ? 0 : me.transports.indexOf(known); // none is a failure, after which comes the first
      loyalty = at && 1;

      // ---- the transports: each begins a connection, and returns what ends it

      const told = close => down(+close.slice(0, 4), close.slice(5));

      const ways = {
        websocket() {
          const socket = new WebSocket(address('').href.replace('http', 'ws'), 'ws2cgi1');
          socket.binaryType = 'arraybuffer';
          socket.onopen = live(() => {
            give = message => {
              socket.send(message);
              flight.push(message);
            };
            up();
          });
          socket.onmessage = live(({ data }) => {
            const all = isText(data) ? data : new Uint8Array(data);
            const end = all.indexOf(isText(data) ? '\n' : 10), head = all.slice(0, end);
            const [word, value] = end < 0 ? all.split(' ') : [];
            if (word == 'at') mark = value;
            else if (word == 'ok') flight.splice(0, value), pump();
            else if (word) emit(word);
            else mark = (isText(data) ? head : textOf(head)) || mark, hear(all.slice(end + 1));
          });
          socket.onclose = live(({ code, reason }) => down(code, reason));
          return (code, reason) => socket.close(code, reason);
        },

        sse() {
          const source = new EventSource(address(''));
          const on = (type, then) => source.addEventListener(type, live(({ data, lastEventId }) => {
            mark = lastEventId || mark;
            then(data);
          }));
          on('open', data => {
            if (!data) return; // that is EventSource's own
            ({ id, key } = JSON.parse(data));
            up();
          });
          on('message', hear);
          on('text64', data => hear(textOf(bytesOf(data))));
          on('binary', data => hear(bytesOf(data)));
          on('gap', () => emit('gap'));
          on('close', told);
          on('error', () => down(1006));
          return () => source.close();
        },

        poll() {
          let request;
          const next = live(() => {
            request = ask(address('&batch=1&wait=' + (state && WAIT) + chain()), null, answer);
          });
          const answer = live((status, body, field) => {
            const messages = status == 200 ? attempt(() => JSON.parse(textOf(body))) : [];
            if (status == 410) {
              id = '';
              return told(field('WS-Close') || '1006');
            }
            if (/^4(?!08|29)/.test(status)) return finish(4000 + status, textOf(body).trim());
            if (!status || status > 204 || !messages) return down(1006, textOf(body));
            id = field('WS-Id');
            key = field('WS-Key');
            mark = field('WS-Since');
            up();
            if (field('WS-Gap')) emit('gap');
            messages.forEach(message => hear(isText(message) ? message : bytesOf(message.binary)));
            next();
          });
          next();
          return () => request.abort();
        },
      };

      // ---- up and down

      const connect = () => {
        const next = me.transports[at];
        if (state) return; // closed by a handler meanwhile
        if (next != name) goodbye();
        me.transport = name = next;
        missed = since && !mark;
        if (name != 'poll') setTimeout(live(() => state || down(1006)), me.patience);
        drop = attempt(ways[name]);
        if (!drop) down(1006); // not in this browser
      };

      const up = () => {
        if (state) return; // each answer to a poll comes here
        become(OPEN);
        since = now();
        if (me.transports[1] && (name != known || old())) {
          known = name;
          when = since;
          attempt(() => localStorage[item] = name + ' ' + since);
        }
        emit('open');
        if (missed) emit('gap');
        pump();
      };

      // Ends this try. The messages on their way by a WebSocket may have arrived, or not.
      const leave = next => {
        const unsure = flight, end = drop;
        turn++;
        drop = give = null;
        flight = [];
        if (name != 'poll') id = '';
        become(next);
        if (end) end(1000);
        lose(unsure, 0);
      };

      const renew = () => {
        leave(CONNECTING);
        connect();
      };

      // A chain of polls with which nobody goes on would stay for a while.
      const goodbye = () => {
        if (id && name == 'poll') fetch(address('&close=1' + chain()), { keepalive: true }).catch(() => {});
        id = '';
      };

      const down = (code, reason = '') => {
        if (state == CLOSING || code == 1000 || code == 1008 || code > 2999) return finish(code, reason);
        const held = state && (loyalty || now() - since > BRIEF);
        let wait = 1;
        leave(CONNECTING);
        if (held && now() - since > HELD) pause = me.least;
        if (held) loyalty = old() ? at = 0 : LOYALTY;
        else if (loyalty) (wait = --loyalty) || (at = 0);
        else if (wait = !me.transports[++at]) at = 0;
        if (wait) {
          wait = pause * (.5 + Math.random());
          pause = Math.min(2 * pause, me.most);
        }
        setTimeout(live(connect), wait);
        if (wait && !state) emit('error', { code, reason, wait });
      };

      const finish = (code, reason) => {
        leave(CLOSED);
        goodbye();
        listen(removeEventListener);
        lose(queue, 0);
        emit('close', { code, reason });
      };

      const wake = ({ type }) => {
        if (type == 'pagehide') {
          leave(CONNECTING);
          goodbye();
        } else if (!drop) {
          document.hidden || renew(); // who looks need not wait; and the page may be shown again
        } else if (type == 'online') {
          down(1006, type); // it may be another network, where the connection is dead
        }
      };
      const listen = how => ['online', 'pagehide', 'visibilitychange'].forEach(type => how(type, wake));

      // ---- the way up: one POST at a time, so that they are in order

      const pump = () => {
        if (!state || state == CLOSED || posting.length) return;
        if (give) queue.splice(0).forEach(give);
        else if (queue.length) return post(turn, posting = queue.splice(0, 1));
        // A WebSocket that is being closed hears no `ok`.
        if (ending && !flight.length) give ? drop(...ending) : finish(...ending);
      };

      const post = (mine, [message]) => {
        const [to] = address().href.replace('/nph-ws/', '/ws-post/').replace('/nph-', '/post-').split('?');
        ask((me.post || to) + '?n=' + ++posts + chain(), message, (status, body, field) => {
          posting = [];
          // Gone, or no room: it has not been run.
          if (state < CLOSED && /410|503/.test(status)) queue.unshift(message);
          else if (status == 200) hear(/^text|\W(json|xml)\b/.test(field('Content-Type')) ? textOf(body) : body);
          else if (status != 204) lose([message], status);
          if (mine == turn && /^(0|410|503)$/.test(status)) down(1006);
          else pump();
        });
      };

      me.send = data => {
        if (state > OPEN) throw Error('closed');
        // Bytes are copied: the page may change them.
        queue.push(isText(data) ? data : new Blob([data], { type: 'application/octet-stream' }));
        pump();
      };

      me.close = (code = 1000, reason = '') => {
        if (state > OPEN) return;
        if (!state) return finish(code, reason);
        ending = [code, reason];
        become(CLOSING);
        pump();
      };

      me.restart = () => {
        if (state > OPEN) return;
        at = loyalty = 0;
        renew();
      };

      become(CONNECTING);
      listen(addEventListener);
      connect();
    }
  };
})();
