//! Strength of signing keys.

/// The least bytes of a key: those of its hash (RFC 7518, section 3.2), which is SHA-256 everywhere here.
const MIN_KEY_LEN: usize = 32;
/// The least distinct bytes of a key. 32 random decimal digits have fewer once in ten billion times.
const MIN_DIFFERENT: usize = 5;

/// Why a key can be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    #[error("must have at least {MIN_KEY_LEN} bytes; whitespace around it does not count")]
    TooShort,
    #[error("must not repeat a few bytes: at least {MIN_DIFFERENT} must be different")]
    Monotonous,
}

/// Trims whitespace and control characters, and refuses a key that can be guessed. Trimmed characters are invisible and
/// often unintended, such as the line end of a file.
pub fn strong_key(key: &[u8]) -> Result<&[u8], WeakKey> {
    let key = str::from_utf8(key).map_or_else(|_| key.trim_ascii(), |text| text.trim_matches(is_blank).as_bytes());
    let mut different = key.to_vec();
    different.sort_unstable();
    different.dedup();
    if key.len() < MIN_KEY_LEN {
        Err(WeakKey::TooShort)
    } else if different.len() < MIN_DIFFERENT {
        Err(WeakKey::Monotonous)
    } else {
        Ok(key)
    }
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_key_that_can_be_guessed_is_refused() {
        for blank in [
            " ".repeat(40),
            "\t \n\r".repeat(10),
            "\u{a0}\u{3000}".repeat(10),
            "\0".repeat(40),
        ] {
            assert_eq!(strong_key(blank.as_bytes()), Err(WeakKey::TooShort), "{blank:?}");
        }
        for monotonous in ["a".repeat(64), "abcd".repeat(8), "ja".repeat(20)] {
            assert_eq!(
                strong_key(monotonous.as_bytes()),
                Err(WeakKey::Monotonous),
                "{monotonous}"
            );
        }
        assert_eq!(strong_key(&[255; 32]), Err(WeakKey::Monotonous));
        assert_eq!(strong_key(&KEY.as_bytes()[..31]), Err(WeakKey::TooShort));
        let padded = format!("{}    ", &KEY[..28]);
        assert_eq!(strong_key(padded.as_bytes()), Err(WeakKey::TooShort));
    }

    #[test]
    fn whitespace_around_a_key_is_trimmed() {
        for carried in ["", "\n", "\r\n", " \n\n"] {
            assert_eq!(strong_key(format!("{KEY}{carried}").as_bytes()), Ok(KEY.as_bytes()));
        }
        let inside = "a key with blanks in it, which is fine";
        assert_eq!(strong_key(format!("\t{inside} ").as_bytes()), Ok(inside.as_bytes()));
        let mut bytes: Vec<u8> = (128..160).collect();
        assert_eq!(strong_key(&bytes), Ok(&*bytes.clone()), "no text");
        bytes.push(b'\n');
        assert_eq!(strong_key(&bytes), Ok(&bytes[..32]));
    }
}
