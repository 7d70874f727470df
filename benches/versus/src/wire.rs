//! One client connection without a client library: big buffers, no work per message beyond finding its end.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};

use crate::frame::{self, Frame};
use crate::{Error, Result};

const BUFFER_BYTES: usize = 1 << 20;
const SILENCE: Duration = Duration::from_secs(20);

pub struct Connection {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    sids: u64,
}

impl Connection {
    /// Connected, greeted and answered: the server has handled CONNECT when this returns.
    pub fn open(port: u16) -> io::Result<Self> {
        Self::open_with(port, BUFFER_BYTES)
    }

    /// For loads with very many connections.
    pub fn open_small(port: u16) -> io::Result<Self> {
        Self::open_with(port, 4096)
    }

    fn open_with(port: u16, buffer_bytes: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut connection = Self { stream, buffer: vec![0; buffer_bytes], start: 0, end: 0, sids: 0 };
        connection.write(
            b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"versus\",\
              \"version\":\"1\",\"protocol\":1}\r\n",
        )?;
        connection.sync()?;
        Ok(connection)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn subscribe(&mut self, subject: &str) -> io::Result<()> {
        self.sids += 1;
        let line = format!("SUB {subject} {}\r\n", self.sids);
        self.write(line.as_bytes())
    }

    /// PING and its PONG: everything written before has been handled. Messages on the way are dropped.
    pub fn sync(&mut self) -> io::Result<()> {
        self.write(b"PING\r\n")?;
        loop {
            match self.next()? {
                Frame::Pong => return Ok(()),
                Frame::Error(text) => return Err(io::Error::other(String::from_utf8_lossy(text).into_owned())),
                _ => {}
            }
        }
    }

    /// The next frame that is not a PING; those are answered here.
    pub fn next(&mut self) -> io::Result<Frame<'_>> {
        loop {
            let length = self.fill_frame()?;
            let at = self.start;
            self.start += length;
            if self.buffer[at..].starts_with(b"PING") {
                self.write(b"PONG\r\n")?;
                continue;
            }
            return Ok(frame::decode(&self.buffer[at..at + length]));
        }
    }

    /// The next message that is no status, with what `take` makes of it.
    pub fn message<T>(&mut self, mut take: impl FnMut(Frame<'_>) -> T) -> Result<T> {
        loop {
            match self.next()? {
                Frame::Error(text) => return Err(String::from_utf8_lossy(text).into_owned().into()),
                message @ Frame::Message { .. } => return Ok(take(message)),
                _ => {}
            }
        }
    }

    /// One request and its reply's payload; a status reply is an error.
    pub fn request(&mut self, subject: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let inbox = "_INBOX.versus";
        self.sids += 1;
        let sid = self.sids;
        self.write(format!("SUB {inbox} {sid}\r\nPUB {subject} {inbox} {}\r\n", payload.len()).as_bytes())?;
        self.write(payload)?;
        self.write(b"\r\n")?;
        let reply = self.message(|message| match message {
            Frame::Message { headers: [], payload, .. } => Ok(payload.to_vec()),
            Frame::Message { headers, .. } => Err(Error::from(String::from_utf8_lossy(headers).trim().to_owned())),
            _ => unreachable!("only messages come here"),
        })?;
        self.write(format!("UNSUB {sid}\r\n").as_bytes())?;
        reply
    }

    /// A JetStream API call; the reply as text, an error reply as an error.
    pub fn api(&mut self, subject: &str, body: &str) -> Result<String> {
        let reply = self.request(&format!("$JS.API.{subject}"), body.as_bytes())?;
        let text = String::from_utf8_lossy(&reply).into_owned();
        if text.contains("\"error\":{") || text.contains("\"error\": {") {
            Err(format!("{subject}: {text}").into())
        } else {
            Ok(text)
        }
    }

    /// Reads once and counts the complete messages that are then in the buffer; `seen` gets each of them.
    pub fn count_messages(&mut self, mut seen: impl FnMut(&[u8])) -> Result<u64> {
        self.fill()?;
        let mut count = 0;
        while let Some(length) = frame::length(&self.buffer[self.start..self.end]) {
            let at = self.start;
            self.start += length;
            match self.buffer[at] {
                b'M' | b'H' => {
                    count += 1;
                    seen(&self.buffer[at..at + length]);
                }
                b'-' => return Err(String::from_utf8_lossy(&self.buffer[at..at + length]).into_owned().into()),
                b'P' if self.buffer[at..].starts_with(b"PING") => self.write(b"PONG\r\n")?,
                _ => {}
            }
        }
        Ok(count)
    }

    /// Takes up to `max` bytes off the socket without copying them; 0 at its end. Only for floods of equal messages,
    /// whose number follows from their bytes.
    pub fn discard(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match recv(&self.stream, scratch, RecvFlags::TRUNC) {
            Ok((_, bytes)) => Ok(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn fill_frame(&mut self) -> io::Result<usize> {
        loop {
            if let Some(length) = frame::length(&self.buffer[self.start..self.end]) {
                return Ok(length);
            }
            self.fill()?;
        }
    }

    /// One read; room is made by moving the rest to the front, or by growing for a frame larger than the buffer.
    fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.end += bytes;
                Ok(())
            }
        }
    }
}

/// `PUB subject [reply] size`, the payload, CRLF: as many copies as fit into about `bytes`.
pub fn publish_block(subject: &str, reply: &str, payload_bytes: usize, bytes: usize) -> (Vec<u8>, usize) {
    let separator = if reply.is_empty() { "" } else { " " };
    let mut message = format!("PUB {subject}{separator}{reply} {payload_bytes}\r\n").into_bytes();
    message.resize(message.len() + payload_bytes, b'x');
    message.extend_from_slice(b"\r\n");
    let copies = (bytes / message.len()).max(1);
    (message.repeat(copies), message.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_whole_messages() {
        let (block, message_bytes) = publish_block("a", "", 4, 40);
        assert_eq!(message_bytes, b"PUB a 4\r\nxxxx\r\n".len());
        assert_eq!(block.len() % message_bytes, 0);
        assert!(block.starts_with(b"PUB a 4\r\nxxxx\r\nPUB a"));
        assert!(publish_block("a", "r", 1000, 10).0.starts_with(b"PUB a r 1000\r\n"));
    }
}
