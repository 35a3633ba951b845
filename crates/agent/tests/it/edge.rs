//! The hub edge over HTTP: workers with a model of their own, and a real hub behind it.

mod own;
mod passed;
mod rights;
mod site;
