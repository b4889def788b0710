//! Spans as OTLP messages one after another: JSON a line each, or protobuf with its length before it.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, bail};
use clew_common::otlp::{
    json::{self, Ids},
    wire,
};
use clew_storage::verify::Part;
use flate2::write::GzEncoder;

use crate::output;

/// A message has more bytes only when a single span has: receivers of OTLP take 4 MiB at least.
const MESSAGE_BYTES: usize = 1 << 20;

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Protobuf,
}

/// How all of it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Where messages go.
pub(crate) struct Lines {
    encoding: Encoding,
    out: Out,
}

enum Out {
    Plain(Target),
    Gzip(GzEncoder<Target>),
    Zstd(zstd::Encoder<'static, Target>),
}

/// A file, or standard output.
pub(crate) enum Target {
    File(BufWriter<File>),
    Stdout(BufWriter<io::StdoutLock<'static>>),
}

impl Target {
    /// A new file, a pipe or a device; `-` is standard output.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(output::stdout()));
        }
        // A pipe or a device is there, and has nothing to be written over.
        let is_place = path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir());
        let file = match if is_place { File::options().write(true).open(path) } else { File::create_new(path) } {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{} is there already: nothing is written over", path.display())
            }
            file => file.with_context(|| format!("cannot create {}", path.display()))?,
        };
        Ok(Self::File(BufWriter::with_capacity(1 << 18, file)))
    }

    /// Writes what is left; a file is durable then.
    fn finish(self) -> io::Result<()> {
        match self {
            Self::File(file) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
            }
            Self::Stdout(mut out) => out.flush(),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(out) => out.write(bytes),
            Self::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(out) => out.flush(),
            Self::Stdout(out) => out.flush(),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}

impl Lines {
    /// Nothing yet.
    pub(crate) fn new(encoding: Encoding, compression: Compression, target: Target) -> io::Result<Self> {
        let out = match compression {
            Compression::None => Out::Plain(target),
            Compression::Gzip => Out::Gzip(GzEncoder::new(target, flate2::Compression::default())),
            Compression::Zstd => Out::Zstd(zstd::Encoder::new(target, 3)?),
        };
        Ok(Self { encoding, out })
    }

    /// Writes spans, as one message or several.
    pub(crate) fn write(&mut self, part: &Part) -> anyhow::Result<()> {
        for message in part.messages(MESSAGE_BYTES) {
            self.message(&message?)?;
        }
        Ok(())
    }

    fn message(&mut self, message: &[u8]) -> io::Result<()> {
        match self.encoding {
            Encoding::Json => {
                let mut line = json::from_protobuf(message, Ids::Hex);
                line.push('\n');
                self.out.write_all(line.as_bytes())
            }
            Encoding::Protobuf => {
                let mut length = Vec::new();
                wire::put_varint(&mut length, message.len() as u64);
                self.out.write_all(&length)?;
                self.out.write_all(message)
            }
        }
    }

    /// Writes what is left; a file is durable then.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.out {
            Out::Plain(out) => out,
            Out::Gzip(out) => out.finish()?,
            Out::Zstd(out) => out.finish()?,
        }
        .finish()
    }
}
