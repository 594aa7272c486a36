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
 * It is used like a WebSocket. It tries a WebSocket, then server-sent events, then long polls; with
 * the latter two, messages go up by POST. What worked is kept in localStorage, and the next page
 * begins with it. On the board: nph-ws and ws-post, links to ws2cgi, and ws2cgi --history BYTES, so
 * that nothing sent to rooms and routes is missed while the connection was broken.
 *
 * new Ws2cgi(URL, {OPTIONS}): URL as pages have it, `/cgi-bin/nph-ws/chat?nick=anna` or with
 * http(s)://HOST. The options are properties too, and may be changed later:
 *
 *     transports   ['websocket', 'sse', 'poll']: what to try, in this order; one alone is forced
 *     post         the URL for POSTs; by default ws-post for nph-ws, post-NAME for nph-NAME
 *     patience     5000 ms: no first word of the server for so long, as where it keeps a stream's
 *                  events back: the next transport
 *     least, most  500, 20000 ms: the pause before a new try, which doubles from one to the other,
 *                  give or take a half, so that a restarted board isn't met by all pages at once
 *     remember     3600000 ms: what worked counts for so long; then the best is tried first again
 *
 * Other properties: url (a new one counts from the next connection on), readyState (CONNECTING,
 * OPEN, CLOSING, CLOSED, the same numbers as a WebSocket's; CONNECTING also while it waits to try
 * again), transport (the one that it uses or tries).
 *
 * send(TEXT | ArrayBuffer | a view of one | Blob): in order, now or when there is a connection.
 * close(CODE = 1000, REASON = ''): after what was sent is done. What a WebSocket would not take, a
 * CODE other than 1000 and 3000 to 4999 or a REASON over 123 bytes, throws. restart(): from the
 * best transport on, or of others that `transports` has been set to.
 *
 * Events, by `on…` or addEventListener:
 *
 *     open      there is a connection, the first or a further one
 *     message   data: a string or an ArrayBuffer. What a program answers to a POST comes so too; it
 *               is in no order with what programs send another way
 *     gap       messages are missing here: the connection broke, and what was sent meanwhile is not
 *               in the daemon's history, any more or at all. What is for this one connection alone
 *               (a reply, or text to its WS_ID) never is, and is lost with the connection
 *     lost      data: a message that send() took, as a string or Blob. status 0: the connection
 *               broke, or was closed, before the daemon said that it was done. It may have been
 *               run, or may yet be. Another status: that of the HTTP answer to its POST (410 is
 *               much like 0; 409: it has run, and its answer was lost; 503: the program's, or the
 *               web server's). It is not sent again, unless the page does:
 *                   line.onlost = event => event.status || line.send(event.data);
 *               No other message is dropped, doubled or overtaken. One that the daemon has no room
 *               for, as it says itself, waits, and is sent again
 *     error     the connection broke, or none could be made; code and reason, if there are any, and
 *               wait: ms until the next try
 *     close     it is over; code, reason
 *
 * It is over after close(); when the server closes it with 1000, 1008 or a code of its program's
 * own (3000 to 4999); and where a poll is told 4xx, by the program or the daemon: 4403 for HTTP's
 * 403, reason: the text. Otherwise (1001 from a daemon that stops, 1006, 1011, 1012, 1013 ...) it
 * tries again, for ever, and goes on behind the last message that it has. A WebSocket and an event
 * stream can't tell why they were refused: alone they go on trying.
 *
 * A browser opens six connections to an HTTP/1.1 server, for all of its pages together: event
 * streams and polls take one each, WebSockets none of them.
 *
 * The program's close event: a WebSocket brings close()'s code and reason; else it is 1000 (polls)
 * or 1006 (events). A page that goes ends its connection in the same way.
 *
 * It needs ES2015, and EventTarget as a constructor: Chrome 64, Firefox 59, Safari 14. Minified
 * (`esbuild --minify`) it has at most 4 KB.
 */
'use strict';
(() => {
  const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
  const WAIT = 25;      // seconds that a poll is held, at most
  const TIMEOUT = 35000;
  const HELD = 5000;    // ms: a connection that held so long makes the pause short again
  const BRIEF = 1000;   // one that broke before was none: some servers end a WebSocket at once
  const LOYALTY = 3;    // tries with the transport that has worked, before the others get theirs

  const { now } = Date;
  const isText = data => data.trim; // only a string has that
  const textOf = bytes => new TextDecoder().decode(bytes);
  const bytesOf = base64 => Uint8Array.from(atob(base64), letter => letter.charCodeAt()).buffer;
  const attempt = call => {
    try {
      return call();
    } catch (e) {}
  };

  // An HTTP request, a GET if it has no body; its Content-Type is the body's. Status 0: no answer
  // has come.
  const ask = (url, then, body) => {
    const request = new XMLHttpRequest();
    request.open(body == null ? 'GET' : 'POST', url);
    request.responseType = 'arraybuffer';
    request.timeout = TIMEOUT;
    request.onloadend = () => then(
      request.status, request.response || undefined,
      name => request.getResponseHeader(name));
    request.send(body);
    return request;
  };

  self.Ws2cgi = class extends EventTarget {
    constructor(url, options) {
      super();
      const me = Object.assign(this, {
        url, transports: ['websocket', 'sse', 'poll'],
        patience: 5000, least: 500, most: 20000, remember: 3600000,
        CONNECTING, OPEN, CLOSING, CLOSED,
      }, options);

      let state;              // readyState
      let turn = 0;           // counts tries: nobody listens to what an earlier one has yet to say
      let name, at, loyalty;  // the transport of this one; its place in the list; its tries left
      let drop, give;         // ends it, while there is one; sends by it, if that is not by POST
      let since, pause = 0;
      let mark, missed;       // of the last message; this try goes on from nowhere
      let id, key;            // of a connection whose messages go up by POST
      let queue = [];         // messages not sent
      let posting;            // one of them is on its way by POST, or is to be again
      let posts = 0;          // the number of the next: a browser may repeat one, and not tell
      let flight = [];        // those of this WebSocket that are not known to be done
      let ending;             // what close() wants

      const emit = (type, more) => {
        me.addEventListener(type, me['on' + type], { once: true }); // none is none
        me.dispatchEvent(Object.assign(new Event(type), more));
      };
      const hear = data => state < CLOSING && emit('message', { data });
      const lose = (messages, status = 0) =>
        messages.forEach(data => emit('lost', { data, status }));
      const live = (call, mine = turn) => (...all) => mine == turn && call(...all);
      const become = next => me.readyState = state = next;

      // ---- addresses, and what has worked

      const address = (more = '') => {
        const to = new URL(me.url, location);
        to.search += (to.search && '&') + 'via=' + name + more +
          (mark ? '&since=' + mark : '');
        return to;
      };
      const chain = () => id ? `&id=${id}&key=${key}` : '';

      // A page may have no storage.
      const item = 'ws2cgi ' + me.url.split('?')[0];
      let [known, when] = attempt(() => localStorage[item].split(' ')) || [];
      const old = () => now() - when > me.remember;
      // With none it begins with a failure, and goes on to the first.
      at = old() ? 0 : me.transports.indexOf(known);
      loyalty = at && 1;

      // ---- the transports: each begins a connection, and returns what ends it

      const told = close => down(+close.slice(0, 4), close.slice(5));

      const ways = {
        websocket() {
          const socket = new WebSocket(address().href.replace('http', 'ws'), 'ws2cgi1');
          socket.binaryType = 'arraybuffer';
          socket.onopen = live(() => {
            give = message => {
              socket.send(message);
              flight.push(message);
            };
            up();
          });
          socket.onmessage = live(({ data }) => {
            // Up to its mark's end, which is ASCII, a character is a byte.
            const text = isText(data) ? data : textOf(data), end = text.indexOf('\n');
            const [word, value] = end < 0 ? text.split(' ') : [];
            if (word == 'at') mark = value;
            else if (word == 'ok') flight.splice(0, value), pump();
            else if (word) emit(word);
            else mark = text.slice(0, end) || mark, hear(data.slice(end + 1));
          });
          socket.onclose = live(({ code, reason }) => down(code, reason));
          return (code, reason) => socket.close(code, reason);
        },

        sse() {
          const source = new EventSource(address());
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
            request = ask(
              address('&batch=1&wait=' + (state && WAIT) + chain()), answer);
          });
          const answer = live((status, body, field) => {
            const text = textOf(body);
            const messages = status == 204 ? [] : attempt(() => JSON.parse(text));
            if (status == 410) {
              id = '';
              return told(field('WS-Close') || '1006');
            }
            if (/^4(?!08|29)/.test(status)) return finish(4000 + status, text.trim());
            if (status > 204 || !messages) return down(1006, text);
            id = field('WS-Id');
            key = field('WS-Key');
            mark = field('WS-Since');
            up();
            if (field('WS-Gap')) emit('gap');
            messages.forEach(message =>
              hear(isText(message) ? message : bytesOf(message.binary)));
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
        drop = give = 0;
        flight = [];
        if (name != 'poll') id = '';
        become(next);
        if (end) end(1000);
        lose(unsure);
      };

      const renew = () => {
        leave(CONNECTING);
        connect();
      };

      // A chain of polls with which nobody goes on would stay for a while.
      const goodbye = () => {
        if (id)
          fetch(address('&close=1' + chain()), { keepalive: true }).catch(() => {});
        id = '';
      };

      const rest = () => (pause = Math.min(2 * pause || me.least, me.most)) * (.5 + Math.random());

      const down = (code, reason = '') => {
        if (state == CLOSING || code == 1000 || code == 1008 || code > 2999)
          return finish(code, reason);
        const held = state && (loyalty || now() - since > BRIEF);
        let wait = 1;
        leave(CONNECTING);
        if (held && now() - since > HELD) pause = 0;
        if (held) loyalty = old() ? at = 0 : LOYALTY;
        else if (loyalty) (wait = --loyalty) || (at = 0);
        else if (wait = !me.transports[++at]) at = 0;
        if (wait) wait = rest();
        setTimeout(live(connect), wait);
        if (wait && !state) emit('error', { code, reason, wait });
      };

      const finish = (code, reason) => {
        leave(CLOSED);
        goodbye();
        listen(removeEventListener);
        lose(queue);
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
      const listen = how =>
        ['online', 'pagehide', 'visibilitychange'].forEach(type => how(type, wake));

      // ---- the way up: one POST at a time, so that they are in order

      const pump = (busy = posting) => {
        posting = busy;
        if (!busy && state && state < CLOSED) {
          if (!give && queue.length) return post(turn, queue.shift());
          if (give) queue.splice(0).forEach(give);
          // A WebSocket that is being closed hears no `ok`.
          if (ending && !flight.length) (give ? drop : finish)(...ending);
        }
      };

      const post = (mine, message) => {
        posting = true;
        ask((me.post || address().href
          .replace('/nph-ws/', '/ws-post/').replace('/nph-', '/post-').split('?')[0]
        ) + '?n=' + posts + chain(), (status, body, field) => {
          // The daemon has not run it. Under the same number, as it may have been run for all that:
          // of what a browser repeats, one only hears how the last went.
          if (field('WS-Retry') && state < CLOSED) {
            queue.unshift(message);
            setTimeout(pump, rest(), false);
          } else {
            posts++;
            if (status == 200)
              hear(/^text|\W(json|xml)\b/.test(field('Content-Type')) ? textOf(body) : body);
            else if (status != 204) lose([message], status);
            if (mine == turn && (!status || status == 410)) down(1006);
            pump(false);
          }
        }, message);
      };

      me.send = data => {
        if (state > OPEN) throw Error('closed');
        // Bytes are copied: the page may change them.
        queue.push(isText(data) ? data : new Blob([data], { type: 'application/octet-stream' }));
        pump();
      };

      me.close = (code = 1000, reason = '') => {
        const wrong = code == 1000 || code > 2999 && code < 5000 ?
          new Blob([reason]).size > 123 && 'Syntax' : 'InvalidAccess';
        if (wrong) throw new DOMException(wrong, wrong + 'Error');
        if (!state) finish(code, reason);
        else if (state == OPEN) {
          ending = [code, reason];
          become(CLOSING);
          pump();
        }
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
