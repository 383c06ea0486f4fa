//! What people write in `config.toml`, and its compilation into rules.
