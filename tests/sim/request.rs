//! What a browser asks for, good or bad, as bytes: a request head, or the hand-off record that a
//! web server's nph-ws makes of one.

use crate::browser::Browser;
use crate::plan::head;

impl Browser {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("Host", "board".to_owned()),
            ("Upgrade", "websocket".to_owned()),
            ("Sec-WebSocket-Version", "13".to_owned()),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
            ("Cookie", format!("browser={}", self.index)),
        ];
        if self.offer {
            fields.push(("Sec-WebSocket-Protocol", "one, two".to_owned()));
        }
        let mut set = |name: &str, value: &str| {
            for field in fields.iter_mut().filter(|(n, _)| *n == name) {
                field.1 = value.to_owned();
            }
        };
        match self.head {
            head::VERSION => set("Sec-WebSocket-Version", "8"),
            head::KEY => set("Sec-WebSocket-Key", "x"),
            head::UPGRADE => set("Upgrade", "h2c"),
            head::ORIGIN => fields.push(("Origin", "http://evil.example".to_owned())),
            head::NO_HOST => {
                fields.remove(0);
                fields.push(("Origin", "http://board".to_owned()));
            }
            _ => {}
        }
        fields
    }

    fn method(&self) -> &'static str {
        if self.head == head::METHOD {
            "POST"
        } else {
            "GET"
        }
    }

    pub fn request_head(&self) -> Vec<u8> {
        if self.head == head::GARBAGE {
            return b"\x16\x03\x01\x02\x00garbage\r\n\r\n".to_vec();
        }
        let mut text = format!(
            "{} {} HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\n",
            self.method(),
            self.route()
        );
        for (name, value) in self.fields() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.head != head::CUT {
            text.push_str("\r\n");
        }
        text.into_bytes()
    }

    pub fn record(&self) -> Vec<u8> {
        if self.head == head::GARBAGE {
            return b"GET / HTTP/1.1\r\n\r\n".to_vec();
        }
        let mut text = "ws2cgi/1 nph-ws\0".to_owned();
        let mut put = |name: &str, value: &str| text.push_str(&format!("{name}={value}\0"));
        put("REQUEST_METHOD", self.method());
        put("SERVER_SOFTWARE", "Boa/0.94.14rc21");
        put("SCRIPT_NAME", "/cgi-bin/nph-ws");
        put("PATH_INFO", self.route());
        put("REMOTE_ADDR", "10.0.0.1");
        for (name, value) in self.fields() {
            let name = name.to_ascii_uppercase().replace('-', "_");
            put(&format!("HTTP_{name}"), &value);
        }
        if self.head == head::CUT {
            text.pop();
        }
        text.into_bytes()
    }
}
