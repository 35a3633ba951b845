//! The weights in one folder, as the common loaders look for them: by name, by index, by number of parts. Pure.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use types::ManifestFile;

use super::{
    candidate::Trouble,
    documents::{Documents, beside, shards},
    nature::{Format, LOADED, Nature, WeightName},
};

/// The weights of one folder in one format and variant.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    /// Places in the listing, the index among them.
    pub(super) files: BTreeSet<usize>,
    pub(super) trouble: Option<Trouble>,
}

/// The files whose names say that they are one thing.
#[derive(Clone, Debug, Default)]
struct Group {
    whole: Vec<usize>,
    /// By how many parts there should be, then by part.
    parts: BTreeMap<u32, BTreeMap<u32, usize>>,
    index: Option<usize>,
}

/// The weights of each folder, grouped once.
#[derive(Debug)]
pub(super) struct Shelf<'a> {
    listing: &'a [ManifestFile],
    documents: &'a Documents,
    places: BTreeMap<&'a str, usize>,
    homes: BTreeMap<(&'a str, Format), Groups<'a>>,
}

/// The groups of one folder in one format, by base and variant.
type Groups<'a> = BTreeMap<(&'a str, Option<&'a str>), Group>;

impl<'a> Shelf<'a> {
    pub(super) fn new(listing: &'a [ManifestFile], natures: &'a [Nature], documents: &'a Documents) -> Self {
        let places = listing.iter().enumerate().map(|(at, file)| (file.path.as_str(), at)).collect();
        let mut shelf = Self { listing, documents, places, homes: BTreeMap::new() };
        for (at, nature) in natures.iter().enumerate() {
            match nature {
                Nature::Weights(name) => {
                    let group = shelf.group(name);
                    match name.part {
                        Some((part, parts)) => {
                            group.parts.entry(parts).or_default().insert(part, at);
                        }
                        None => group.whole.push(at),
                    }
                }
                Nature::Index(name) => shelf.group(name).index = Some(at),
                Nature::Companion | Nature::Aside | Nature::Training | Nature::Media | Nature::Large => {}
            }
        }
        shelf
    }

    fn group(&mut self, name: &'a WeightName) -> &mut Group {
        let home = self.homes.entry((&name.home, name.format)).or_default();
        home.entry((&name.base, name.variant.as_deref())).or_default()
    }

    /// Returns the folders that hold weights in a format.
    pub(super) fn homes(&self, format: Format) -> impl Iterator<Item = &'a str> {
        self.homes.iter().filter(move |((_, other), _)| *other == format).map(|((home, _), _)| *home)
    }

    /// Returns all files in a folder in a format.
    pub(super) fn all(&self, home: &str, format: Format) -> BTreeSet<usize> {
        let groups = self.homes.get(&(home, format)).into_iter().flat_map(BTreeMap::values);
        groups.flat_map(Group::files).collect()
    }

    /// Returns the place of a file.
    pub(super) fn place(&self, path: &str) -> Option<usize> {
        self.places.get(path).copied()
    }

    /// Returns the sets that a loader finds in a folder in a format, by variant.
    pub(super) fn sets(&self, home: &str, format: Format) -> BTreeMap<Option<&'a str>, Set> {
        let Some(groups) = self.homes.get(&(home, format)) else { return BTreeMap::new() };
        let mut sets: BTreeMap<Option<&'a str>, Set> = BTreeMap::new();
        let loaded = || LOADED.iter().filter(|base| **base != "consolidated");
        let variants: BTreeSet<Option<&str>> = groups.keys().map(|(_, variant)| *variant).collect();
        for variant in variants {
            let named = loaded().find_map(|base| groups.get(&(*base, variant)));
            if let Some(group) = named {
                sets.insert(variant, self.set(group));
            }
        }
        if let Entry::Vacant(plain) = sets.entry(None) {
            let all = self.by_any_name(groups);
            if !all.files.is_empty() {
                plain.insert(all);
            }
        }
        sets
    }

    /// Returns the plain weights whose names loaders do not know.
    fn by_any_name(&self, groups: &Groups<'a>) -> Set {
        let others = groups.iter().filter(|((base, variant), group)| {
            variant.is_none() && !LOADED.contains(base) && !group.files().is_empty()
        });
        let mut all = Set::default();
        for group in self.first_ending(others.map(|(_, group)| group).collect()) {
            let set = self.set(group);
            all.files.extend(set.files);
            all.trouble = all.trouble.or(set.trouble);
        }
        all
    }

    /// Returns the set of files that are named `consolidated`, as Mistral's own loaders want them.
    pub(super) fn consolidated(&self, home: &str) -> Option<Set> {
        let groups = self.homes.get(&(home, Format::Safetensors))?;
        groups.get(&("consolidated", None)).map(|group| self.set(group))
    }

    /// Of pickles by any name, loaders take those with the first of these endings that is there.
    fn first_ending<'g>(&self, groups: Vec<&'g Group>) -> Vec<&'g Group> {
        let has = |group: &Group, ending: &str| {
            group.files().iter().any(|at| self.listing[*at].path.as_str().ends_with(ending))
        };
        let first =
            [".bin", ".pt", ".pth"].into_iter().find(|ending| groups.iter().any(|one| has(one, ending)));
        match first {
            Some(ending) => groups.into_iter().filter(|group| has(group, ending)).collect(),
            None => groups,
        }
    }

    /// Returns the files of a group: the whole one goes before the index, the index before the parts.
    fn set(&self, group: &Group) -> Set {
        if !group.whole.is_empty() {
            return Set { files: group.whole.iter().copied().collect(), trouble: None };
        }
        if let Some(index) = group.index
            && let Some(bytes) = self.documents.get(self.listing[index].path.as_str())
        {
            return self.indexed(index, bytes);
        }
        self.numbered(group)
    }

    fn indexed(&self, at: usize, bytes: &[u8]) -> Set {
        let index = &self.listing[at].path;
        let mut set = Set { files: BTreeSet::from([at]), trouble: None };
        let names = match shards(bytes) {
            Ok(names) => names,
            Err(reason) => {
                set.trouble = Some(Trouble::IndexInvalid { index: index.clone(), reason });
                return set;
            }
        };
        for name in names {
            let place = match beside(index, &name) {
                Ok(path) => {
                    self.place(path.as_str()).ok_or(Trouble::NotListed { index: index.clone(), path })
                }
                Err(error) => Err(Trouble::PathRefused { index: index.clone(), error }),
            };
            match place {
                Ok(place) => {
                    set.files.insert(place);
                }
                Err(trouble) => {
                    set.trouble = Some(trouble);
                    return set;
                }
            }
        }
        set
    }

    /// Without an index the numbers in the names say whether all parts are there.
    fn numbered(&self, group: &Group) -> Set {
        let mut set = Set { files: group.index.into_iter().collect(), trouble: None };
        if let Some(index) = group.index.filter(|_| group.parts.is_empty()) {
            let (index, reason) = (self.listing[index].path.clone(), "it is too long to be read".to_owned());
            set.trouble = Some(Trouble::IndexInvalid { index, reason });
        }
        for (parts, present) in &group.parts {
            set.files.extend(present.values());
            // A name may claim 99,999 parts; the first gap ends the search.
            let missing = (1..=*parts).find(|part| !present.contains_key(part));
            let trouble = missing.map(|part| Trouble::PartMissing { part, parts: *parts });
            set.trouble = set.trouble.or(trouble);
        }
        set
    }
}

impl Group {
    fn files(&self) -> Vec<usize> {
        let parts = self.parts.values().flat_map(BTreeMap::values);
        self.whole.iter().chain(parts).copied().chain(self.index).collect()
    }
}
