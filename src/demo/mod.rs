//! A throwaway Postgres with sample data.

pub mod cluster;
