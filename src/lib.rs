//! sequin_mutations
