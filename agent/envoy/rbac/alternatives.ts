// A character, what it is as an escape, a class with what repeats it, or a group.
const PIECE = /\\.|\[[^\]]*\][*+]?|\([^)]*\)|[^]/g;
// About the instructions of one piece of an expression, and for one more alternative.
const COMPLEX_COST = 12;
const ALTERNATIVE_COST = 2;

interface Node {
  readonly next: Map<string, Node>;
  isEnd: boolean;
}

/**
 * One expression for any of several. What they begin with in common is in it once.
 *
 * @param expressions without alternatives outside of groups, and without groups in groups
 * @example
 * anyOf(['a[b-z]*c', 'a[b-z]*d']); // a[b-z]*(?:c|d)
 */
export function anyOf(expressions: readonly string[]): string {
  const root: Node = { next: new Map(), isEnd: false };
  for (const expression of expressions) {
    let node = root;
    for (const piece of piecesOf(expression)) {
      const next: Node = node.next.get(piece) ?? { next: new Map(), isEnd: false };
      node.next.set(piece, next);
      node = next;
    }
    node.isEnd = true;
  }
  return written(root);
}

/** Expressions in their order, in parts none of which costs much more than allowed, unless it is one alone. */
export function inParts(expressions: readonly string[], maxCost: number): string[][] {
  const parts: string[][] = [];
  let cost = Infinity;
  let before: readonly string[] = [];
  for (const expression of expressions.toSorted()) {
    const pieces = piecesOf(expression);
    cost += costOf(pieces.slice(sharedLength(before, pieces)));
    before = pieces;
    if (cost <= maxCost) parts.at(-1)?.push(expression);
    else {
      parts.push([expression]);
      cost = costOf(pieces);
    }
  }
  return parts;
}

function written({ next, isEnd }: Node): string {
  const ways = [...next].map(([piece, after]) => piece + written(after));
  if (isEnd) ways.push('');
  return ways.length === 1 ? (ways[0] ?? '') : `(?:${ways.join('|')})`;
}

function piecesOf(expression: string): readonly string[] {
  return expression.match(PIECE) ?? [];
}

function costOf(pieces: readonly string[]): number {
  return pieces.reduce((sum, piece) => sum + (piece.length > 2 ? COMPLEX_COST : 1), ALTERNATIVE_COST);
}

function sharedLength(one: readonly string[], other: readonly string[]): number {
  let length = 0;
  while (length < one.length && one[length] === other[length]) length += 1;
  return length;
}
