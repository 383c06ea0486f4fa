//! How batches are compressed, and what others compressed is read.

use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4::block::CompressionMode;
use std::io::{Cursor, Error, ErrorKind, Read, Write};

/// A codec, as brokers number it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// An LZ4 frame (version 1) of independent blocks of at most 64 KiB, without checksums: Kafka's has one. The third byte is `xxh32` of the two before it,
/// second byte: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.
const LZ4_FRAME: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
/// Units: bytes.
const LZ4_BLOCK: usize = 64 << 10;
/// The bit of a block's length that says that it is stored as it is.
const LZ4_STORED: u32 = 1 << 31;
/// How fast LZ4 passes over what does not repeat. Records are half hashes, so 3 costs little: a fifth to two fifths less time than 1, and 2 to 3 % more bytes.
const LZ4_ACCELERATION: i32 = 3;

/// How snappy's Java library, and so Kafka's Java client, begins what it writes in blocks, each with its length before it; two version numbers follow.
/// Other clients write one block as it is.
const SNAPPY_BLOCKS: [u8; 8] = *b"\x82SNAPPY\0";
/// Units: bytes.
const SNAPPY_BLOCKS_HEADER: usize = 16;

impl Codec {
    /// By its name in the config.
    pub(super) fn named(name: &str) -> Codec {
        match name {
            "gzip" => Codec::Gzip,
            "snappy" => Codec::Snappy,
            "lz4" => Codec::Lz4,
            "zstd" => Codec::Zstd,
            _ => Codec::None,
        }
    }

    /// Its bits among a batch's attributes.
    pub(super) fn bits(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// By a batch's attributes. Errors: `None`, one that nobody knew when this was written.
    pub(super) fn of_bits(attributes: i16) -> Option<Codec> {
        [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd].into_iter().find(|codec| codec.bits() == attributes & 7)
    }

    /// What `packed` was made of, to be read a piece at a time. Errors: it does not begin as it should; what comes later tells itself when it is read.
    pub(super) fn reader(self, packed: Bytes) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Codec::None => Box::new(packed.reader()),
            Codec::Gzip => Box::new(MultiGzDecoder::new(packed.reader())),
            Codec::Snappy => Box::new(Cursor::new(snappy(&packed)?)),
            Codec::Lz4 => Box::new(lz4::Decoder::new(packed.reader())?),
            Codec::Zstd => Box::new(zstd::stream::read::Decoder::new(packed.reader())?),
        })
    }

    /// So many bytes are compressed by themselves, as soon as they are there. Shape: `None`, only all at once. Units: bytes.
    pub(super) fn block(self) -> Option<usize> {
        (self == Codec::Lz4).then_some(LZ4_BLOCK)
    }

    /// Adds what comes before everything else.
    pub(super) fn begin(self, out: &mut Vec<u8>) {
        if self == Codec::Lz4 {
            out.extend_from_slice(&LZ4_FRAME);
        }
    }

    /// Adds whole blocks, compressed; of codecs that have none, nothing. `scratch` is memory to work in.
    pub(super) fn blocks(self, bytes: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        if self == Codec::Lz4 {
            lz4(bytes, scratch, out);
        }
    }

    /// Adds what is left, compressed, and the end. Writing into memory, no codec has anything to refuse.
    pub(super) fn end(self, bytes: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        match self {
            Codec::None => out.extend_from_slice(bytes),
            Codec::Gzip => {
                let mut encoder = GzEncoder::new(out, Compression::default());
                let _ = encoder.write_all(bytes).and_then(|()| encoder.try_finish());
            }
            Codec::Snappy => {
                let start = out.len();
                out.resize(start + snap::raw::max_compress_len(bytes.len()), 0);
                let length = snap::raw::Encoder::new().compress(bytes, &mut out[start..]).unwrap_or(0);
                out.truncate(start + length);
            }
            Codec::Lz4 => {
                lz4(bytes, scratch, out);
                out.extend_from_slice(&[0; 4]);
            }
            Codec::Zstd => {
                let _ = zstd::stream::copy_encode(bytes, out, 0);
            }
        }
    }
}

fn lz4(bytes: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    scratch.resize(lz4::block::compress_bound(LZ4_BLOCK).unwrap_or(2 * LZ4_BLOCK), 0);
    for block in bytes.chunks(LZ4_BLOCK) {
        let packed = lz4::block::compress_to_buffer(block, Some(CompressionMode::FAST(LZ4_ACCELERATION)), false, scratch);
        let packed = packed.ok().filter(|length| *length < block.len());
        let (stored, flag) = packed.map_or((block, LZ4_STORED), |length| (&scratch[..length], 0));
        out.extend_from_slice(&(stored.len() as u32 | flag).to_le_bytes());
        out.extend_from_slice(stored);
    }
}

/// All of it at once: whoever writes snappy has it in blocks of 32 KiB, or as one of at most a batch.
fn snappy(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let Some(mut blocks) = packed.strip_prefix(&SNAPPY_BLOCKS).and_then(|_| packed.get(SNAPPY_BLOCKS_HEADER..)) else {
        return Ok(snap::raw::Decoder::new().decompress_vec(packed)?);
    };
    let mut out = Vec::new();
    while let Some((length, rest)) = blocks.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        out.extend_from_slice(&snap::raw::Decoder::new().decompress_vec(block)?);
        blocks = rest;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_codec_is_read_back() {
        let text = "what is written is read again, and again. ".repeat(40_000);
        let noise: Vec<u8> = (0..5_000_000u64).map(|i| (i.wrapping_mul(6_364_136_223_846_793_005).rotate_left(23) >> 40) as u8).collect();
        for bytes in [b"".as_slice(), b"x", text.as_bytes(), &noise] {
            for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
                let mut out = b"before".to_vec();
                let whole = codec.block().map_or(0, |block| bytes.len() / 2 / block * block);
                let mut scratch = Vec::new();
                codec.begin(&mut out);
                codec.blocks(&bytes[..whole], &mut scratch, &mut out);
                codec.end(&bytes[whole..], &mut scratch, &mut out);
                let packed = out.strip_prefix(b"before".as_slice()).unwrap();
                let mut ours = Vec::new();
                codec.reader(Bytes::copy_from_slice(packed)).unwrap().read_to_end(&mut ours).unwrap();
                assert!(ours == bytes, "{codec:?} of {} bytes, by our own reader", bytes.len());
                let mut read = Vec::new();
                match codec {
                    Codec::None => read = packed.to_vec(),
                    Codec::Gzip => drop(flate2::read::GzDecoder::new(packed).read_to_end(&mut read).unwrap()),
                    Codec::Snappy => read = snap::raw::Decoder::new().decompress_vec(packed).unwrap(),
                    Codec::Lz4 => drop(lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut read).unwrap()),
                    Codec::Zstd => read = zstd::stream::decode_all(packed).unwrap(),
                }
                assert!(read == bytes, "{codec:?} of {} bytes", bytes.len());
            }
        }
    }
}
