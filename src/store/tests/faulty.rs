//! A disk in memory that fails when told to, and that forgets at a power cut what was not synced.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

/// What one sector of a disk holds: writes are torn at its borders, never inside.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub struct Faulty(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    /// What reading shows.
    current: Vec<u8>,
    /// What is certain to survive a power cut.
    durable: Vec<u8>,
    /// What may survive it.
    pending: Vec<Pending>,
    /// Writes, resizes and syncs so far.
    n_operations: usize,
    fails: Option<Failure>,
    failed: bool,
}

#[derive(Clone, Debug)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    operation: usize,
    kind: io::ErrorKind,
}

impl Faulty {
    pub fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Disk { durable: bytes.clone(), current: bytes, ..Disk::default() })))
    }

    /// Lets so many more operations succeed; the next one fails with this error, and all after it.
    pub fn fail_after(&self, n_operations: usize, kind: io::ErrorKind) {
        let mut disk = self.0.lock().unwrap();
        disk.fails = Some(Failure { operation: disk.n_operations + n_operations + 1, kind });
    }

    pub fn n_operations(&self) -> usize {
        self.0.lock().unwrap().n_operations
    }

    pub fn has_failed(&self) -> bool {
        self.0.lock().unwrap().failed
    }

    /// What a killed process leaves: everything it wrote.
    pub fn after_kill(&self) -> Vec<u8> {
        self.0.lock().unwrap().current.clone()
    }

    /// What a power cut leaves at worst.
    pub fn durable(&self) -> Vec<u8> {
        self.0.lock().unwrap().durable.clone()
    }

    /// What a power cut may leave: of what was not synced any part, in any order, torn between sectors.
    pub fn after_power_cut(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let disk = self.0.lock().unwrap();
        let mut image = disk.durable.clone();
        let mut pending = disk.pending.clone();
        random.shuffle(&mut pending);
        // Sometimes nearly all of it, sometimes nearly nothing.
        let share = random.f64();
        for pending in pending {
            if random.f64() > share {
                continue;
            }
            match pending {
                Pending::Resize(n_bytes) => image.resize(n_bytes, 0),
                Pending::Write { offset, bytes } => {
                    let torn = random.f64() < 0.3;
                    for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                        if torn && random.bool() {
                            continue;
                        }
                        let begin = offset + n * SECTOR;
                        if image.len() < begin + sector.len() {
                            image.resize(begin + sector.len(), 0);
                        }
                        image[begin..begin + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
        image
    }
}

impl Disk {
    fn begin(&mut self) -> io::Result<()> {
        self.n_operations += 1;
        if let Some(Failure { operation, kind }) = self.fails
            && self.n_operations >= operation
        {
            self.failed = true;
            return Err(kind.into());
        }
        Ok(())
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let found = offset.checked_add(out.len()).and_then(|end| disk.current.get(offset..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, n_bytes: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.begin()?;
        let n_bytes = usize::try_from(n_bytes).unwrap();
        disk.current.resize(n_bytes, 0);
        disk.pending.push(Pending::Resize(n_bytes));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.begin()?;
        disk.durable = disk.current.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.begin()?;
        let offset = usize::try_from(offset).unwrap();
        disk.current[offset..offset + data.len()].copy_from_slice(data);
        disk.pending.push(Pending::Write { offset, bytes: data.to_vec() });
        Ok(())
    }
}
