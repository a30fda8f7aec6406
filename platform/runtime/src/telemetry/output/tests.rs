//! Tests with streams that fail on demand.

use std::sync::{Mutex, MutexGuard};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// What a stream does with the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Accepts,
    /// Takes three bytes, and then becomes full.
    WritesPart,
    Full,
    Gone,
    WouldBlock,
}

#[derive(Clone)]
struct Stream {
    state: Arc<Mutex<StreamState>>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Stream {
    fn new(state: StreamState) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            taken: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let taken = match *state {
            StreamState::Accepts => bytes,
            StreamState::WritesPart => {
                *state = StreamState::Full;
                &bytes[..3]
            }
            StreamState::Full => return Err(io::ErrorKind::StorageFull.into()),
            StreamState::Gone => return Err(io::ErrorKind::BrokenPipe.into()),
            StreamState::WouldBlock => {
                *state = StreamState::Accepts;
                return Err(io::ErrorKind::WouldBlock.into());
            }
        };
        self.taken.lock().unwrap().extend(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output to this stream, and the reports of dropped lines.
fn output(stream: &Stream) -> (Output, Receiver<u64>) {
    let (reported, dropped) = mpsc::channel();
    // Fails once the test is over.
    let report_dropped = move |lines| reported.send(lines).unwrap_or_default();
    (Output::new(stream.clone(), report_dropped), dropped)
}

#[test]
fn lines_are_written_in_order() {
    let stream = Stream::new(StreamState::WouldBlock);
    let (output, dropped) = output(&stream);
    for line in ["one\n", "two\n", "three\n"] {
        output.write_line(line.into());
    }
    assert!(output.flush(LIMIT));
    assert_eq!(stream.text(), "one\ntwo\nthree\n");
    assert!(dropped.try_recv().is_err(), "nothing was dropped");
}

#[test]
fn lines_dropped_by_a_full_or_closed_stream_are_reported_once() {
    for trouble in [StreamState::Full, StreamState::Gone] {
        let stream = Stream::new(trouble);
        let (output, dropped) = output(&stream);
        for _ in 0..3 {
            output.write_line("lost\n".into());
        }
        assert!(output.flush(LIMIT));
        assert!(dropped.try_recv().is_err(), "the stream takes nothing yet");
        *stream.state() = StreamState::Accepts;
        output.write_line("first\n".into());
        output.write_line("second\n".into());
        assert_eq!(dropped.recv_timeout(LIMIT).unwrap(), 3);
        assert!(output.flush(LIMIT));
        assert_eq!(stream.text(), "first\nsecond\n");
        assert!(dropped.try_recv().is_err(), "reported twice");
    }
}

#[test]
fn a_line_after_a_partial_one_starts_on_a_new_line() {
    let stream = Stream::new(StreamState::WritesPart);
    let (output, _dropped) = output(&stream);
    output.write_line("torn line\n".into());
    assert!(output.flush(LIMIT));
    *stream.state() = StreamState::Accepts;
    output.write_line("whole line\n".into());
    assert!(output.flush(LIMIT));
    assert_eq!(stream.text(), "tor\nwhole line\n");
}

#[test]
fn a_blocked_stream_blocks_no_caller_and_the_queue_stays_bounded() {
    let stream = Stream::new(StreamState::Accepts);
    let (output, dropped) = output(&stream);
    // Like a full pipe: the thread blocks in `write`.
    let blocked = stream.taken.lock().unwrap();
    let line = vec![b'x'; 1 << 10];
    let said = 3 * MAX_QUEUED / line.len();
    for _ in 0..said {
        output.write_line(line.clone());
    }
    assert!(!output.flush(Duration::from_millis(10)), "it cannot be written yet");
    assert!(output.counts.waiting.load(Ordering::Relaxed) <= MAX_QUEUED);
    drop(blocked);
    assert!(output.flush(LIMIT));
    let written = stream.taken.lock().unwrap().len() / line.len();
    let dropped: u64 = dropped.try_iter().sum();
    assert_eq!(written + usize::try_from(dropped).unwrap(), said);
    assert!(dropped > 0);
}
