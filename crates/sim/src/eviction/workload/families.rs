//! Repositories as they are: several quantisations that share small files, and new revisions that change only those.

use base::ByteSize;

use super::{EXPONENT, Maker};
use crate::chance::Zipf;

/// Sizes of quantisations beside the full weights: Q3, Q4, Q5 and Q8 of llama.cpp, and the original.
const QUANTISATIONS: [f64; 5] = [0.23, 0.29, 0.35, 0.53, 1.0];

/// How the requests for a repository go to its quantisations: most to the Q4, as on the public hub.
const WANTED: [f64; 5] = [0.05, 0.5, 0.15, 0.15, 0.15];

/// Config, tokenizer and index files of a repository.
const SMALL_BYTES: ByteSize = ByteSize(20_000_000);

/// One repository in its present revision: a model for each quantisation.
struct Family {
    weights: [usize; QUANTISATIONS.len()],
    models: [usize; QUANTISATIONS.len()],
    revision: u32,
}

pub(super) fn make(maker: &mut Maker) {
    let count = (maker.scale.models / QUANTISATIONS.len()).max(1);
    let mut families: Vec<Family> = (0..count).map(|number| family(maker, number)).collect();
    let zipf = Zipf::new(count, EXPONENT);
    // Each repository gets a new revision every six weeks or so, in which only small files differ.
    let mut revisions = maker.moments(count as f64 / 42.0).into_iter().peekable();
    for at in maker.moments(maker.scale.starts_per_day.into()) {
        while revisions.next_if(|revised| *revised <= at).is_some() {
            let number = maker.chance.below(count);
            let Family { weights, revision, .. } = families[number];
            let models = revision_of(maker, number, revision + 1, weights);
            families[number] = Family { weights, models, revision: revision + 1 };
        }
        let family = zipf.draw(&maker.chance);
        let mut drawn = maker.chance.unit();
        let wanted = WANTED.iter().position(|part| {
            drawn -= part;
            drawn < 0.0
        });
        maker.trace.request(at, families[family].models[wanted.unwrap_or(1)]);
    }
}

fn family(maker: &mut Maker, number: usize) -> Family {
    // Log-normal around 14 GB (seven billion parameters, two bytes each).
    let full = (14e9 * maker.chance.normal().exp()).clamp(1e9, 140e9);
    let weights = QUANTISATIONS.map(|part| maker.trace.add_blob(ByteSize((full * part) as u64)));
    let models = revision_of(maker, number, 1, weights);
    Family { weights, models, revision: 1 }
}

fn revision_of(
    maker: &mut Maker,
    number: usize,
    revision: u32,
    weights: [usize; QUANTISATIONS.len()],
) -> [usize; QUANTISATIONS.len()] {
    let small = maker.trace.add_blob(SMALL_BYTES);
    weights.map(|blob| {
        let name = format!("org/family-{number}@{revision}:{}", maker.trace.models().len());
        maker.trace.add_model(name, vec![small, blob])
    })
}
