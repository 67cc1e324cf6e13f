//! Rights, and the secrecy of tokens.

mod roles;
mod search_path_attacks;
mod secrets;
mod unprivileged_role;
