//! Files in two folders, written atomically: the prepare log in a participant's server, on a real disk.
