//! A bad network: what goes through it can be cut off at any moment.

use super::Site;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A port of its own in front of another.
pub struct Relay {
    site: Site,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    open: Arc<Mutex<bool>>,
    listener: Option<JoinHandle<()>>,
}

impl Relay {
    /// In front of a port.
    pub fn to(port: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let mut relay = Relay {
            site: Site {
                port: listener.local_addr().expect("its port").port(),
            },
            streams: Arc::default(),
            open: Arc::new(Mutex::new(true)),
            listener: None,
        };
        let (streams, open) = (relay.streams.clone(), relay.open.clone());
        relay.listener = Some(std::thread::spawn(move || {
            for near in listener.incoming() {
                if !*open.lock().unwrap() {
                    return;
                }
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", port))) else {
                    continue;
                };
                let mut streams = streams.lock().unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().expect("dup"), to.try_clone().expect("dup"));
                    streams.push(from.try_clone().expect("dup"));
                    std::thread::spawn(move || carry(from, to));
                }
            }
        }));
        relay
    }

    /// Ends every connection that goes through it, in the middle of whatever it is.
    pub fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Read);
    let _ = to.shutdown(Shutdown::Write);
}

impl std::ops::Deref for Relay {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        *self.open.lock().unwrap() = false;
        self.cut();
        // It looks once more.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}
