//! The order in which descriptors are copied to the numbers that a worker expects, decided before the fork.

/// One system call of the child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FdMove {
    /// Copy to a number that nothing needs. The copy is close-on-exec.
    Save { from: i32, to: i32 },
    /// Copy to the final number. The copy stays open across execve(2).
    Copy { from: i32, to: i32 },
    /// The descriptor has its final number already: clear its close-on-exec flag.
    Keep { fd: i32 },
}

/// How descriptors reach consecutive numbers in a child, whatever numbers they have in the master.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FdMap {
    /// Carried out before `moves`: these make room for them.
    pub saves: Vec<FdMove>,
    /// Carried out in this order.
    pub moves: Vec<FdMove>,
    /// The numbers of the other descriptors after `saves`, in the order in which they were given.
    pub others: Vec<i32>,
}

impl FdMap {
    /// Plans how `sources` get the numbers from `first` up, in their order. `others` are descriptors that the child needs
    /// until it executes: none of them is overwritten. Every other descriptor may be.
    pub fn plan(sources: &[i32], first: i32, others: &[i32]) -> FdMap {
        let end = first.saturating_add(i32::try_from(sources.len()).unwrap_or(i32::MAX));
        // The lowest free numbers: a higher one could lie above RLIMIT_NOFILE.
        let mut spares = (end..).filter(|fd| !sources.contains(fd) && !others.contains(fd));
        let mut next_spare = || spares.next().unwrap_or(i32::MAX);
        let mut map = FdMap::default();
        for &other in others {
            if (first..end).contains(&other) {
                let to = next_spare();
                map.saves.push(FdMove::Save { from: other, to });
                map.others.push(to);
            } else {
                map.others.push(other);
            }
        }

        // By target. A target is pending until its source has been copied to it.
        let mut pending: Vec<Option<i32>> = Vec::with_capacity(sources.len());
        for (target, &source) in (first..).zip(sources) {
            if source == target {
                map.moves.push(FdMove::Keep { fd: target });
                pending.push(None);
            } else {
                pending.push(Some(source));
            }
        }
        // How many pending copies are made from the number of each target. It may be overwritten when there are none.
        let index = |fd: i32| usize::try_from(fd.saturating_sub(first)).ok();
        let mut uses: Vec<usize> = vec![0; sources.len()];
        for source in pending.iter().flatten() {
            if let Some(uses) = index(*source).and_then(|index| uses.get_mut(index)) {
                *uses += 1;
            }
        }
        let mut ready: Vec<usize> = (0..).zip(&uses).filter(|(_, uses)| **uses == 0).map(|(index, _)| index).collect();
        // What can be freed by saving it, which only cycles need.
        let mut cyclic = 0..sources.len();
        loop {
            let (from, to, last) = if let Some(target) = ready.pop() {
                let Some(from) = pending.get_mut(target).and_then(Option::take) else { continue };
                (from, first.saturating_add(i32::try_from(target).unwrap_or(i32::MAX)), true)
            } else {
                let Some(target) = cyclic.next() else { return map };
                let Some(from) = pending.get_mut(target).and_then(Option::as_mut) else { continue };
                let to = next_spare();
                (std::mem::replace(from, to), to, false)
            };
            map.moves.push(if last { FdMove::Copy { from, to } } else { FdMove::Save { from, to } });
            if let Some((source, uses)) = index(from).and_then(|index| Some((index, uses.get_mut(index)?))) {
                *uses = uses.saturating_sub(1);
                if *uses == 0 {
                    ready.push(source);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const FIRST: i32 = 3;

    /// Carries the plan out on a table of numbers: which descriptor of the master is open there, and whether it stays open.
    fn carry_out(sources: &[i32], others: &[i32]) -> FdMap {
        let map = FdMap::plan(sources, FIRST, others);
        let mut table: BTreeMap<i32, (i32, bool)> = (0..20).map(|fd| (fd, (fd, false))).collect();
        for step in map.saves.iter().chain(&map.moves) {
            match *step {
                FdMove::Save { from, to } => {
                    assert_ne!(from, to);
                    table.insert(to, (table[&from].0, false));
                }
                FdMove::Copy { from, to } => {
                    assert_ne!(from, to, "dup2(2) of a number to itself leaves close-on-exec as it is");
                    table.insert(to, (table[&from].0, true));
                }
                FdMove::Keep { fd } => table.get_mut(&fd).unwrap().1 = true,
            }
        }
        let shown = || format!("{sources:?} beside {others:?}: {map:?}");
        for (target, source) in (FIRST..).zip(sources) {
            assert_eq!(table[&target], (*source, true), "{}", shown());
        }
        for (now, other) in map.others.iter().zip(others) {
            assert_eq!(table[now].0, *other, "{}", shown());
        }
        let kept: Vec<i32> = table.iter().filter(|(_, (_, kept))| *kept).map(|(fd, _)| *fd).collect();
        let wanted: Vec<i32> = (FIRST..).take(sources.len()).collect();
        assert_eq!(kept, wanted, "{}", shown());
        map
    }

    /// Every list of `count` numbers out of `choices`; the same number may come twice.
    fn lists(choices: std::ops::Range<i32>, count: usize) -> Vec<Vec<i32>> {
        let shorter = if count == 0 { return vec![vec![]] } else { lists(choices.clone(), count - 1) };
        shorter.iter().flat_map(|list| choices.clone().map(move |fd| [list.as_slice(), &[fd]].concat())).collect()
    }

    #[test]
    fn every_order_of_a_few_descriptors_reaches_its_numbers() {
        for count in 0..=4 {
            for sources in lists(0..9, count) {
                for others in (0..=2).flat_map(|others| lists(2..8, others)) {
                    carry_out(&sources, &others);
                }
            }
        }
    }

    #[test]
    fn nothing_is_copied_where_all_are_in_place() {
        let map = carry_out(&[3, 4, 5], &[6, 9]);
        assert_eq!(map.saves, []);
        assert_eq!(map.moves, [3, 4, 5].map(|fd| FdMove::Keep { fd }));
        assert_eq!(map.others, [6, 9]);
    }

    #[test]
    fn a_cycle_costs_one_copy_more_and_a_chain_none() {
        assert_eq!(carry_out(&[4, 5, 3], &[]).moves.len(), 4);
        assert_eq!(carry_out(&[4, 5, 6], &[]).moves.len(), 3);
        assert_eq!(carry_out(&[4, 3, 6, 5], &[]).moves.len(), 6);
    }

    #[test]
    fn many_descriptors_in_reverse_order_are_planned_too() {
        let sources: Vec<i32> = (FIRST..FIRST + 1000).rev().collect();
        assert_eq!(FdMap::plan(&sources, FIRST, &[]).moves.len(), 1500);
    }
}
