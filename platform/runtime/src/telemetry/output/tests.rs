//! Streams that do what a test wants.

use std::sync::{Mutex, MutexGuard};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// What a stream does with the next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    /// Takes three bytes, and then nothing for want of room.
    Tears,
    Full,
    Gone,
    HasNoRoomNow,
}

#[derive(Clone)]
struct Stream {
    mood: Arc<Mutex<Mood>>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Stream {
    fn new(mood: Mood) -> Self {
        Self {
            mood: Arc::new(Mutex::new(mood)),
            taken: Arc::default(),
        }
    }

    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.lock().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut mood = self.mood();
        let taken = match *mood {
            Mood::Takes => bytes,
            Mood::Tears => {
                *mood = Mood::Full;
                &bytes[..3]
            }
            Mood::Full => return Err(io::ErrorKind::StorageFull.into()),
            Mood::Gone => return Err(io::ErrorKind::BrokenPipe.into()),
            Mood::HasNoRoomNow => {
                *mood = Mood::Takes;
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

/// An output to this stream, and what is told of dropped lines.
fn output(stream: &Stream) -> (Output, Receiver<u64>) {
    let (told, dropped) = mpsc::channel();
    // The test may be over.
    let tell = move |lines| told.send(lines).unwrap_or_default();
    (Output::new(stream.clone(), tell), dropped)
}

#[test]
fn lines_are_written_in_order() {
    let stream = Stream::new(Mood::HasNoRoomNow);
    let (output, dropped) = output(&stream);
    for line in ["one\n", "two\n", "three\n"] {
        output.say(line.into());
    }
    assert!(output.flush(LIMIT));
    assert_eq!(stream.text(), "one\ntwo\nthree\n");
    assert!(dropped.try_recv().is_err(), "nothing was dropped");
}

#[test]
fn lines_that_a_full_or_gone_stream_did_not_take_are_counted_and_told_of_once() {
    for trouble in [Mood::Full, Mood::Gone] {
        let stream = Stream::new(trouble);
        let (output, dropped) = output(&stream);
        for _ in 0..3 {
            output.say("lost\n".into());
        }
        assert!(output.flush(LIMIT));
        assert!(dropped.try_recv().is_err(), "there is nobody to tell it to yet");
        *stream.mood() = Mood::Takes;
        output.say("first\n".into());
        output.say("second\n".into());
        assert_eq!(dropped.recv_timeout(LIMIT).unwrap(), 3);
        assert!(output.flush(LIMIT));
        assert_eq!(stream.text(), "first\nsecond\n");
        assert!(dropped.try_recv().is_err(), "told twice");
    }
}

#[test]
fn a_line_that_was_torn_does_not_run_into_the_next_one() {
    let stream = Stream::new(Mood::Tears);
    let (output, _dropped) = output(&stream);
    output.say("torn line\n".into());
    assert!(output.flush(LIMIT));
    *stream.mood() = Mood::Takes;
    output.say("whole line\n".into());
    assert!(output.flush(LIMIT));
    assert_eq!(stream.text(), "tor\nwhole line\n");
}

#[test]
fn a_stream_that_blocks_holds_up_nobody_and_costs_a_bounded_queue() {
    let stream = Stream::new(Mood::Takes);
    let (output, dropped) = output(&stream);
    // As a pipe that nobody empties: the thread hangs in `write`.
    let blocked = stream.taken.lock().unwrap();
    let line = vec![b'x'; 1 << 10];
    let said = 3 * CAPACITY / line.len();
    for _ in 0..said {
        output.say(line.clone());
    }
    assert!(!output.flush(Duration::from_millis(10)), "it cannot be written yet");
    assert!(output.counts.waiting.load(Ordering::Relaxed) <= CAPACITY);
    drop(blocked);
    assert!(output.flush(LIMIT));
    let written = stream.taken.lock().unwrap().len() / line.len();
    let dropped: u64 = dropped.try_iter().sum();
    assert_eq!(written + usize::try_from(dropped).unwrap(), said);
    assert!(dropped > 0);
}
