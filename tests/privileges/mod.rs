//! Who may do what, and that a token shows nowhere.

mod roles;
mod search_path_attacks;
mod secrets;
mod unprivileged_role;
