//! Opening a store: its lock, its format, what a crash left, and the index rebuilt from what is on the disk.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use base::{Clock, Disk, EntryKind, FolderEntry, write_durably};
use types::{Digest, ModelKey};

use crate::{
    DiskTrouble, FormatUnknown, OpenStoreError, StoreLocked, StoreOptions,
    flight::Flights,
    history::History,
    index::Index,
    layout::{FORMAT, Layout, NOTES_SUFFIX, PartialOwner, first_byte},
    linked::LinkedBlobs,
    model::{RECORD_BYTES_MAX, decode_record},
    notes::{self, NotesTable},
    partial::{self, remove_if_there},
    quarantine,
    scrub::Verified,
    store::{Counters, Inner, Publication},
    strays::Strays,
    suppliers::SupplierLog,
    view::{self, ViewTable},
};

/// What may stand in a root that is no store yet: the lock just taken, a format cut short, a mount's own folder.
const HARMLESS: [&str; 3] = ["lock", "format.tmp", "lost+found"];
/// The longest format line that a newer version might write, and that we would quote.
const FORMAT_BYTES_MAX: u64 = 256;

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    clock: Clock,
    options: StoreOptions,
) -> Result<Inner, OpenStoreError> {
    let layout = Layout::new(options.root);
    let root = layout.root();
    disk.make_folder(root).map_err(|error| DiskTrouble::new("making", root, error))?;
    let locked =
        disk.try_lock(&layout.lock()).map_err(|error| DiskTrouble::new("locking", layout.lock(), error))?;
    let lock = locked.ok_or_else(|| StoreLocked { root: root.to_owned() })?;
    if let Some(parent) = root.parent() {
        disk.sync_folder(parent).map_err(|error| DiskTrouble::new("syncing", parent, error))?;
    }
    check_format(&disk, &layout)?;
    make_folders(&disk, &layout)?;
    empty(&disk, &layout.trash())?;
    empty(&disk, &layout.building())?;

    let mut index = Index::default();
    let suppliers = index_blobs(&disk, &layout, &mut index)?;
    let notes = index_models(&disk, &layout, &mut index)?;
    index_partials(&disk, &layout, &mut index)?;
    quarantine::find(&disk, &layout, &mut index)?;
    let verified = Verified::read(&disk, &layout.verified(), |digest| index.blob(digest).is_some());
    let path = layout.history();
    let history = History::open(&disk, &path).map_err(|error| DiskTrouble::new("reading", path, error))?;
    let linked = LinkedBlobs::open(&disk, layout.root(), |digest| index.blob(digest).is_some())?;
    let views = ViewTable::new(view::find(&disk, &layout)?);
    let inner = Inner {
        disk,
        clock,
        layout,
        extent_bytes: options.extent_bytes,
        index: Mutex::new(index),
        flights: Arc::new(Flights::default()),
        publication: Mutex::new(Publication {
            suppliers,
            synced_fans: BTreeSet::new(),
            durable_folders: HashSet::new(),
            history,
            strays: Strays::default(),
        }),
        reservations: Mutex::default(),
        notes: Mutex::new(notes),
        verified: Mutex::new(verified),
        linked,
        views,
        counters: Counters::default(),
        next_scratch: AtomicU64::new(0),
        tainted: Mutex::new(HashSet::new()),
        lock,
    };
    // A process that repaired a blob may have been killed before it had told the views, or another repaired it since.
    if let Err(error) = inner.end_quarantine().and_then(|()| inner.drop_quarantine()) {
        tracing::warn!(%error, "what was damaged and is repaired stays in quarantine until the next repair");
    }
    Ok(inner)
}

fn check_format(disk: &Arc<dyn Disk>, layout: &Layout) -> Result<(), OpenStoreError> {
    let path = layout.format();
    let unknown = |found: String| FormatUnknown { root: layout.root().to_owned(), found };
    match disk.read(&path, FORMAT_BYTES_MAX) {
        Ok(bytes) if bytes == FORMAT => Ok(()),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            Err(unknown(format!("its format is {text:?}")).into())
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(unknown("its format is no line of text".to_owned()).into())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let entries = list(disk, layout.root())?;
            match entries.iter().find(|entry| !HARMLESS.contains(&entry.name.as_str())) {
                Some(foreign) => Err(unknown(format!("it holds {:?} but no format", foreign.name)).into()),
                None => Ok(write_durably(disk, &path, FORMAT)
                    .map_err(|error| DiskTrouble::new("writing", &path, error))?),
            }
        }
        Err(error) => Err(DiskTrouble::new("reading", &path, error).into()),
    }
}

/// Makes the fixed folders and makes their names durable, also those that a killed process made just before.
fn make_folders(disk: &Arc<dyn Disk>, layout: &Layout) -> Result<(), DiskTrouble> {
    let make = |folder: &Path, mode: u32| {
        let made = disk.make_folder(folder).and_then(|()| disk.chmod(folder, mode));
        made.map_err(|error| DiskTrouble::new("making", folder, error))
    };
    let sync =
        |folder: &Path| disk.sync_folder(folder).map_err(|error| DiskTrouble::new("syncing", folder, error));
    make(&layout.blobs(), 0o755)?;
    make(&layout.views(), 0o755)?;
    make(&layout.models(), 0o755)?;
    // Nothing unverified, half-built or on its way out is anyone else's to read.
    make(&layout.partials(), 0o700)?;
    make(&layout.building(), 0o700)?;
    make(&layout.trash(), 0o700)?;
    make(&layout.quarantine(), 0o700)?;
    let there: BTreeSet<String> = list(disk, &layout.blobs())?.into_iter().map(|entry| entry.name).collect();
    for first in 0..=u8::MAX {
        if !there.contains(&format!("{first:02x}")) {
            make(&layout.fan(first), 0o755)?;
        }
    }
    sync(&layout.blobs())?;
    sync(layout.root())
}

fn index_blobs(disk: &Arc<dyn Disk>, layout: &Layout, index: &mut Index) -> Result<SupplierLog, DiskTrouble> {
    let mut found = Vec::new();
    for first in 0..=u8::MAX {
        let fan = layout.fan(first);
        for entry in list(disk, &fan)? {
            let path = fan.join(&entry.name);
            match entry.name.parse::<Digest>() {
                Ok(digest) if entry.kind == EntryKind::File && first_byte(&digest) == first => {
                    let meta =
                        disk.metadata(&path).map_err(|error| DiskTrouble::new("looking at", &path, error))?;
                    found.push((digest, meta.len));
                }
                Ok(_) | Err(_) => tracing::warn!(path = %path.display(), "a file that is not the store's"),
            }
        }
    }
    let here: HashSet<Digest> = found.iter().map(|(digest, _)| *digest).collect();
    let path = layout.suppliers();
    let (log, mut suppliers) = SupplierLog::open(disk, &path, |digest| here.contains(digest))
        .map_err(|error| DiskTrouble::new("reading", path, error))?;
    for (digest, size) in found {
        index.insert_blob(digest, size, suppliers.remove(&digest).unwrap_or_default());
    }
    Ok(log)
}

fn index_models(disk: &Arc<dyn Disk>, layout: &Layout, index: &mut Index) -> Result<NotesTable, DiskTrouble> {
    let mut notes = NotesTable::default();
    for hub in folders(disk, &layout.models())? {
        let hub_folder = layout.models().join(hub);
        for repo in folders(disk, &hub_folder)? {
            let repo_folder = hub_folder.join(repo);
            let entries = list(disk, &repo_folder)?;
            let (on_models, records): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|entry| entry.name.ends_with(NOTES_SUFFIX));
            let mut known = BTreeSet::new();
            for entry in records {
                let path = repo_folder.join(&entry.name);
                match index_model(disk, layout, index, &path)? {
                    Record::Taken(key) => {
                        let since = index.record(&key).map(|(model, _)| model.published_at);
                        notes.set(&key, notes::read(disk, layout, &key, since.unwrap_or_default()));
                        known.insert(layout.notes(&key));
                    }
                    Record::Unread => {
                        known.insert(path.with_extension(&NOTES_SUFFIX[1..]));
                    }
                    Record::Dropped => {}
                }
            }
            for entry in on_models {
                let path = repo_folder.join(&entry.name);
                if !known.contains(&path) {
                    remove_if_there(disk, &path)?;
                }
            }
        }
    }
    Ok(notes)
}

/// What became of a file among the records.
enum Record {
    /// It is the record of this model.
    Taken(ModelKey),
    /// The disk did not give it; it stays.
    Unread,
    /// It was none, and is gone.
    Dropped,
}

/// Takes a record into the index when it is one and names the place where it stands; else removes it.
fn index_model(
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    index: &mut Index,
    path: &Path,
) -> Result<Record, DiskTrouble> {
    let stands_at = |key: &ModelKey| layout.model(key) == path;
    let reason = match disk.read(path, RECORD_BYTES_MAX).map(|bytes| decode_record(&bytes)) {
        Ok(Some(model)) if !stands_at(model.manifest.key()) => "it belongs elsewhere".to_owned(),
        Ok(Some(model)) => {
            let key = model.manifest.key().clone();
            if let Some(file) = index.first_absent(&model.manifest) {
                tracing::warn!(model = %key, file = %file.path, "a model lacks a file and waits for its repair");
            }
            index.insert_model(Arc::new(model));
            return Ok(Record::Taken(key));
        }
        Ok(None) => "it can't be understood".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => error.to_string(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a model's record can't be read and is left alone");
            return Ok(Record::Unread);
        }
    };
    // One that was cut short while it was written is nothing to report.
    if path.extension().is_none_or(|extension| extension != "tmp") {
        tracing::warn!(path = %path.display(), reason, "a model's record is dropped; what it lacks is fetched again");
    }
    remove_if_there(disk, path)?;
    Ok(Record::Dropped)
}

fn index_partials(disk: &Arc<dyn Disk>, layout: &Layout, index: &mut Index) -> Result<(), DiskTrouble> {
    for name in folders(disk, &layout.partials())? {
        match PartialOwner::parse(&name) {
            Some(owner) => {
                for (digest, progress) in partial::sweep(disk, layout, &owner)? {
                    index.insert_partial((owner.clone(), digest), progress);
                }
            }
            None => tracing::warn!(name, "a folder among the partial files that is not the store's"),
        }
    }
    Ok(())
}

fn folders(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Vec<String>, DiskTrouble> {
    let entries = list(disk, folder)?.into_iter().filter(|entry| entry.kind == EntryKind::Folder);
    Ok(entries.map(|entry| entry.name).collect())
}

fn list(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Vec<FolderEntry>, DiskTrouble> {
    disk.list(folder).map_err(|error| DiskTrouble::new("listing", folder, error))
}

fn empty(disk: &Arc<dyn Disk>, folder: &Path) -> Result<(), DiskTrouble> {
    for entry in list(disk, folder)? {
        let path = folder.join(&entry.name);
        match entry.kind {
            EntryKind::Folder => {
                disk.remove_tree(&path).map_err(|error| DiskTrouble::new("removing", path, error))?;
            }
            EntryKind::File | EntryKind::Link | EntryKind::Other => remove_if_there(disk, &path)?,
        }
    }
    Ok(())
}
