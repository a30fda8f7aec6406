//! Writes lines to a stream that may be slow, blocked, full or gone. Callers never wait for the stream: a bounded queue
//! takes the lines, and a thread writes them.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::Duration,
};

/// The most queued bytes. A line beyond that is dropped.
const MAX_QUEUED: usize = 1 << 20;
/// The pause before writing again to a non-blocking stream without room.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(20);

/// Called on the writing thread when the stream takes lines again, with the number of lines dropped since the last call.
type OnDropped = Box<dyn Fn(u64) + Send>;

/// The queue of a stream. Clones share it. The thread ends when all clones are gone and all lines are written.
#[derive(Debug, Clone)]
pub struct Output {
    queue: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// Dropped lines since the start.
    dropped: AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    /// Answered when all earlier lines are written or dropped.
    Flush(SyncSender<()>),
}

impl Output {
    /// Starts the thread. It calls `on_dropped`, which may write a line here.
    pub fn new(stream: impl Write + Send + 'static, on_dropped: impl Fn(u64) + Send + 'static) -> Self {
        let (queue, lines) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            stream,
            counts: counts.clone(),
            on_dropped: Box::new(on_dropped),
            reported: 0,
            is_partial: false,
        };
        // If the thread cannot start, lines are dropped once the queue is full.
        drop(
            thread::Builder::new()
                .name("output".to_owned())
                .spawn(move || writer.run(&lines)),
        );
        Self { queue, counts }
    }

    /// Queues a line, or drops it if the queue is full. Never blocks or fails.
    pub fn write_line(&self, line: Vec<u8>) {
        let size = line.len();
        let before = self.counts.waiting.fetch_add(size, Ordering::Relaxed);
        if before + size > MAX_QUEUED || self.queue.send(Message::Line(line)).is_err() {
            self.counts.waiting.fetch_sub(size, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits at most for `limit` until all lines are written. False if some are not.
    pub fn flush(&self, limit: Duration) -> bool {
        let (flushed, is_flushed) = mpsc::sync_channel(1);
        self.queue.send(Message::Flush(flushed)).is_ok() && is_flushed.recv_timeout(limit).is_ok()
    }
}

struct Writer<W> {
    stream: W,
    counts: Arc<Counts>,
    on_dropped: OnDropped,
    /// The dropped lines that were reported.
    reported: u64,
    /// The last line was only written in part.
    is_partial: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self, queue: &Receiver<Message>) {
        for message in queue {
            match message {
                Message::Line(line) => {
                    let written = self.write(&line);
                    let waited = self.counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    match written {
                        Ok(()) if waited < MAX_QUEUED / 2 => self.report_dropped(),
                        Ok(()) => {}
                        Err(_) => {
                            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                Message::Flush(flushed) => {
                    // The waiting caller may have gone away.
                    let _ = flushed.try_send(());
                }
            }
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        if dropped > self.reported {
            (self.on_dropped)(dropped - self.reported);
            self.reported = dropped;
        }
    }

    /// Writes a line in one call if the stream takes it whole, so that lines of several processes do not mix.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_partial {
            self.write_all(b"\n")?;
            self.is_partial = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let error = match self.stream.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    continue;
                }
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::WouldBlock {
                thread::sleep(WOULD_BLOCK_PAUSE);
            } else if error.kind() != io::ErrorKind::Interrupted {
                self.is_partial |= rest.len() < bytes.len();
                return Err(error);
            }
        }
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests;
