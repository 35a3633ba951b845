//! Views: what stands in them, who holds them.
