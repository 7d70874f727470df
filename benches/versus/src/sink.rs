//! What it costs to receive and do nothing else: no server can take a flood for less.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::process::thread_cpu_micros;
use crate::wire::publish_block;
use crate::{Error, Result};

/// Larger reads are no faster.
const READ_BYTES: usize = 120 * 1024;
/// The window that was the fastest for this, too.
const WINDOW_BYTES: usize = 1024 * 1024;

/// Messages a second that one thread takes off a socket and drops, and its CPU microseconds for each.
pub struct Floor {
    pub rate: f64,
    pub cpu_micros: f64,
}

/// Sends the same blocks as a load that publishes, for so long.
pub fn receive_floor(subject: &str, payload_bytes: usize, block_bytes: usize, time: Duration) -> Result<Floor> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    set_socket_recv_buffer_size(&listener, WINDOW_BYTES)?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    sender.set_nodelay(true)?;
    let (stream, _) = listener.accept()?;
    let receiver = std::thread::spawn(move || drop_everything(stream));
    let (block, message_bytes) = publish_block(subject, "", payload_bytes, block_bytes);
    let begin = Instant::now();
    while begin.elapsed() < time {
        io::Write::write_all(&mut sender, &block)?;
    }
    drop(sender);
    let (bytes, cpu_micros) = finish(receiver)?;
    let messages = bytes as f64 / message_bytes as f64;
    Ok(Floor { rate: messages / begin.elapsed().as_secs_f64(), cpu_micros: cpu_micros / messages })
}

fn drop_everything(mut stream: TcpStream) -> Result<(u64, f64)> {
    let (mut buffer, mut bytes) = (vec![0; READ_BYTES], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok((bytes, thread_cpu_micros()?)),
            read => bytes += read as u64,
        }
    }
}

fn finish(receiver: JoinHandle<Result<(u64, f64)>>) -> Result<(u64, f64)> {
    receiver.join().map_err(|_| Error::from("the receiving thread failed"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_takes_what_is_sent() {
        let floor = receive_floor("load", 16, 4096, Duration::from_millis(20)).unwrap();
        assert!(floor.rate > 0.0 && floor.cpu_micros >= 0.0);
    }
}
