//! A map whose keys come in order, or are few: a sorted vector. On a small CPU its code is a
//! tenth of a B-tree's.

/// Keys in order, each with its value in a place of its own.
#[derive(Debug)]
pub struct Table<K, V>(Vec<(K, Box<V>)>);

impl<K: Ord + Copy, V> Table<K, V> {
    /// An empty one.
    pub fn new() -> Table<K, V> {
        Table(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |(key, _)| *key)
    }

    /// The value of a key.
    pub fn get(&self, key: K) -> Option<&V> {
        self.place(key).ok().map(|place| &*self.0[place].1)
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let place = self.place(key).ok()?;
        Some(&mut self.0[place].1)
    }

    /// The value of a key; `V::default()` where there was none.
    pub fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let place = match self.place(key) {
            Ok(place) => place,
            Err(place) => {
                self.0.insert(place, (key, Box::default()));
                place
            }
        };
        &mut self.0[place].1
    }

    /// Adds a value whose key is greater than all that there are.
    pub fn push(&mut self, key: K, value: V) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < key));
        self.0.push((key, Box::new(value)));
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.0.iter().map(|(key, value)| (*key, &**value))
    }

    /// The values, in order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| &**value)
    }

    /// The values, in order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| &mut **value)
    }

    /// Keeps those of which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.0.retain(|(_, value)| keep(value));
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(2 * self.0.len());
        }
    }
}

impl<K: Ord + Copy, V> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_whatever_goes() {
        let mut table = Table::new();
        (1..=9).for_each(|key| table.push(key, 10 * key));
        table.retain(|value| value % 20 != 0);
        assert_eq!(
            table.values().copied().collect::<Vec<_>>(),
            [10, 30, 50, 70, 90]
        );
        assert_eq!((table.get(3), table.get(4)), (Some(&30), None));
        if let Some(value) = table.get_mut(5) {
            *value = 0;
        }
        *table.entry(4) += 1;
        *table.entry(4) += 1;
        assert_eq!(
            (table.get(4), table.get(5), table.len()),
            (Some(&2), Some(&0), 6)
        );
        assert!(table.iter().map(|(key, _)| key).eq([1, 3, 4, 5, 7, 9]));
        table.retain(|_| false);
        assert!(table.is_empty());
    }
}
