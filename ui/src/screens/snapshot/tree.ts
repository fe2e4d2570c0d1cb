// Snapshots as the tree that they are.

import type { Snapshot } from '../../api/generated';

export interface Branch {
  snapshot: Snapshot;
  /** 1 for those that hang on nothing. */
  level: number;
  /** For each level above: whether a line goes on there, to a sibling further down. */
  lines: boolean[];
  last: boolean;
}

/** Parents before children, siblings by age. One whose parent is gone stands at the root. */
export function tree(snapshots: Snapshot[]): Branch[] {
  const known = new Set(snapshots.map(({ id }) => id));
  const children = new Map<string, Snapshot[]>();
  for (const snapshot of [...snapshots].sort((a, b) => a.created.localeCompare(b.created))) {
    const parent = snapshot.parent && known.has(snapshot.parent) ? snapshot.parent : '';
    children.set(parent, [...(children.get(parent) ?? []), snapshot]);
  }
  const out: Branch[] = [];
  const walk = (parent: string, level: number, lines: boolean[]) => {
    const list = children.get(parent) ?? [];
    list.forEach((snapshot, index) => {
      const last = index === list.length - 1;
      out.push({ snapshot, level, lines, last });
      walk(snapshot.id, level + 1, [...lines, !last]);
    });
  };
  walk('', 1, []);
  return out;
}
