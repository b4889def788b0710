//! HTTP/2 by hand, frame by frame (RFC 9113, section 4.1), for what no client library would send.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use parking_lot::Mutex;

use super::{SOON, grpc::EXPORT};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header, without the index and without Huffman's code (RFC 7541, section 6.2.2).
pub fn header(name: &str, value: &str) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127, "longer lengths take more than a byte");
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// The headers of a call of Export.
pub fn export_headers() -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", EXPORT),
        (":authority", "clew"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    headers.iter().flat_map(|(name, value)| header(name, value)).collect()
}

/// What came from the other side.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The error code of the last GOAWAY.
    pub goaway: Option<u32>,
    /// Streams that were reset, and their error codes.
    pub resets: Vec<(u32, u32)>,
    /// Streams that got headers.
    pub answered: Vec<u32>,
    /// Nothing comes any more.
    pub closed: bool,
}

/// A connection that speaks HTTP/2 as badly as it is told to. It reads on its own.
pub struct Raw {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
}

impl Raw {
    /// Connects; sends the preface and these settings.
    pub fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_write_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (mut reading, noted) = (stream.try_clone()?, seen.clone());
        std::thread::spawn(move || {
            while let Some((kind, flags, id, payload)) = read_frame(&mut reading) {
                let word = |at: usize| {
                    payload.get(at..at + 4).map_or(0, |word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
                };
                match kind {
                    GOAWAY => noted.lock().goaway = Some(word(4)),
                    RST_STREAM => noted.lock().resets.push((id, word(0))),
                    HEADERS => noted.lock().answered.push(id),
                    SETTINGS if flags & ACK == 0 => _ = reading.write_all(&frame(SETTINGS, ACK, 0, &[])),
                    _ => {}
                }
            }
            noted.lock().closed = true;
        });
        let mut raw = Self { stream, seen };
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        raw.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &settings)].concat())?;
        Ok(raw)
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends the same again and again; how often before the other side closed.
    pub fn flood(&mut self, times: usize, bytes: &[u8]) -> usize {
        (0..times).find(|_| self.send(bytes).is_err()).unwrap_or(times)
    }

    /// What came until something holds, or the other side closed, or time is up.
    pub fn wait(&self, until: impl Fn(&Seen) -> bool) -> Seen {
        let started = Instant::now();
        loop {
            let seen = self.seen.lock().clone();
            if seen.closed || until(&seen) || started.elapsed() > SOON {
                return seen;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The reading thread has the socket too.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).ok()?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7FFF_FFFF;
    Some((head[3], head[4], id, payload))
}
