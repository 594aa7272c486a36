//! Marks and gaps.

use super::Model;

/// The number of a mark.
pub fn number(mark: &str) -> Option<u64> {
    mark.rsplit_once('-')?.1.parse().ok()
}

impl Model {
    pub fn place(&mut self, _: usize, _: Option<&str>) -> Result<(), String> {
        Ok(())
    }
    pub fn poll_place(&mut self, _: usize, _: usize, _: Option<&str>) -> Result<(), String> {
        Ok(())
    }
    pub fn told_gap(&mut self, _: usize) -> Result<(), String> {
        self.totals.gaps += 1;
        Ok(())
    }
}
