import type { CommandSpec } from './command.ts';

/**
 * The command, or first word of some, that comes nearest to words that are none; undefined when nothing is near.
 *
 * @example
 * nearestCommand(COMMANDS, ['entyr', 'show']); // 'entry show'
 */
export function nearestCommand(commands: readonly CommandSpec[], words: readonly string[]): string | undefined {
  const names = [...new Set(commands.flatMap(({ path }) => [path.join(' '), path[0] ?? '']))];
  let best: { readonly name: string; readonly distance: number } | undefined;
  for (const name of names) {
    const written = words.slice(0, name.split(' ').length).join(' ');
    const distance = editDistance(written, name);
    const isNear = distance > 0 && distance <= Math.min(3, Math.floor(name.length * 0.4));
    if (isNear && (best === undefined || distance <= best.distance)) best = { name, distance };
  }
  return best?.name;
}

/** How many letters have to be added, removed or replaced to make one text the other (Levenshtein). */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [index, letter] of one.split('').entries()) {
    const next = [index + 1];
    for (let column = 1; column <= other.length; column += 1) {
      const replaced = (row[column - 1] ?? 0) + (other[column - 1] === letter ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
