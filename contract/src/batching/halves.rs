//! Applies a function to many items at once, and isolates the items that fail.

/// Calls `f` with all items. If it fails, calls it with each half, and so on, down to the single items that fail. Returns
/// those items with their errors, in their order. A failing item costs about twice the logarithm of the length in calls.
///
/// A failing call of `f` must have no effect.
pub fn by_halves<'a, T, E>(items: &'a [T], mut f: impl FnMut(&'a [T]) -> Result<(), E>) -> Vec<(&'a T, E)> {
    let mut failed = Vec::new();
    let mut parts = vec![items];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match (f(part), part) {
            (Ok(()), _) => {}
            (Err(error), [item]) => failed.push((item, error)),
            (Err(_), _) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was done, and which items failed, if those that `fails` names do.
    fn run(items: &[i32], fails: impl Fn(i32) -> bool) -> (Vec<i32>, Vec<i32>, usize) {
        let (mut done, mut tries) = (Vec::new(), 0);
        let failed = by_halves(items, |part| {
            tries += 1;
            if part.iter().any(|item| fails(*item)) {
                return Err("no");
            }
            done.extend(part);
            Ok(())
        });
        (done, failed.into_iter().map(|(item, _)| *item).collect(), tries)
    }

    #[test]
    fn all_at_once_while_nothing_fails() {
        assert_eq!(run(&[1, 2, 3, 4, 5], |_| false), (vec![1, 2, 3, 4, 5], vec![], 1));
        assert_eq!(run(&[], |_| true), (vec![], vec![], 0));
    }

    #[test]
    fn one_that_fails_costs_the_others_nothing_and_a_few_tries() {
        let items: Vec<i32> = (0..1_000).collect();
        let (done, failed, tries) = run(&items, |item| item == 777);
        assert_eq!((done.len(), failed), (999, vec![777]));
        assert!(tries < 25, "{tries}");
    }

    #[test]
    fn each_that_fails_is_named_in_order() {
        assert_eq!(run(&[1, 2, 3, 4, 5, 6], |item| item % 2 == 0).1, [2, 4, 6]);
        assert_eq!(run(&[1, 2, 3], |_| true).1, [1, 2, 3]);
    }
}
