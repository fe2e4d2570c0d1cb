//! The installer against the programs that it calls, where that needs no machine of its own: on files.

mod table;
