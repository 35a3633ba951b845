//! The least HTTP that the plain pipeline needs: GET with a range over a blocking socket that is kept open.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

/// A connection to one origin.
pub(crate) struct Connection {
    authority: String,
    stream: BufReader<TcpStream>,
}

/// Where a redirect leads.
pub(crate) struct Redirected(pub(crate) String);

impl Connection {
    pub(crate) fn to(origin: &str) -> Self {
        let authority = origin.strip_prefix("http://").unwrap().to_owned();
        let stream = TcpStream::connect(&authority).unwrap();
        stream.set_nodelay(true).unwrap();
        // Bodies pass the buffer by: reads as long as it are not buffered.
        Self { authority, stream: BufReader::with_capacity(4096, stream) }
    }

    /// Asks; returns the length of the body, which is to be read before the next question.
    pub(crate) fn ask(&mut self, path: &str, range: Option<(u64, u64)>) -> Result<u64, Redirected> {
        let mut question = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.authority);
        if let Some((first, end)) = range {
            question.push_str(&format!("Range: bytes={first}-{}\r\n", end - 1));
        }
        question.push_str("\r\n");
        self.stream.get_mut().write_all(question.as_bytes()).unwrap();
        let (mut status, mut length, mut location) = (0, 0, None);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                None => status = line.split(' ').nth(1).unwrap().parse::<u16>().unwrap(),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap();
                }
                Some((name, value)) if name.eq_ignore_ascii_case("location") => {
                    location = Some(value.to_owned());
                }
                Some(_) => {}
            }
        }
        match (status, location) {
            (200 | 206, _) => Ok(length),
            (302 | 307, Some(location)) => {
                self.skip(length);
                Err(Redirected(location))
            }
            (status, _) => panic!("{path} is answered {status}"),
        }
    }

    /// Asks and throws the body away.
    pub(crate) fn get(&mut self, path: &str, range: Option<(u64, u64)>) -> Result<u64, Redirected> {
        let length = self.ask(path, range)?;
        self.skip(length);
        Ok(length)
    }

    /// Reads some of the body.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let read = self.stream.read(buffer).unwrap();
        assert!(read > 0, "the body ended early");
        read
    }

    fn skip(&mut self, length: u64) {
        std::io::copy(&mut self.stream.by_ref().take(length), &mut std::io::sink()).unwrap();
    }
}

/// Parts an address into its origin and the rest.
pub(crate) fn parted(address: &str) -> (String, String) {
    let rest = address.strip_prefix("http://").unwrap();
    let slash = rest.find('/').unwrap();
    (format!("http://{}", &rest[..slash]), rest[slash..].to_owned())
}
