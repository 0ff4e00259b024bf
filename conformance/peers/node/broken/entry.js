// What an entry is: a change of the peer, with the cases that must tell it from a right one, or must not. An edit is `[file, text that is
// there once, text in its place]`.

const entry = (name, breaks, killed_by, passes, edits) => ({
  name,
  breaks,
  killed_by,
  passes,
  edits,
  /** The same, and these cases have to pass all the same. */
  but: (further) => entry(name, breaks, killed_by, further, edits),
});

/** A peer that breaks the contract: the cases of `killedBy` have to fail. */
export const broken = (name, breaks, killedBy, ...edits) => entry(name, breaks, killedBy, [], edits);

/** A peer that keeps the contract in another way: the cases of `passes` have to pass. */
export const unusual = (name, does, passes, ...edits) => entry(name, does, [], passes, edits);
