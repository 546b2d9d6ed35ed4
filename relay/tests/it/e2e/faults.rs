//! Kills at random while data is copied and edited: nothing lost, doubled or echoed.
