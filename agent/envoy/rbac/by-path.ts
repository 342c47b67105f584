import { all, any, type Condition, path } from './condition.ts';

// So many are looked at one by one before it pays to look at what they begin with.
const FEW = 6;

/** Any of the conditions. Many that begin with a comparison of the path are told apart by what their paths begin with. */
export function anyByPath(conditions: readonly Condition[]): Condition {
  const led = conditions.filter((each) => beginningOf(each) !== undefined);
  const rest = conditions.filter((each) => beginningOf(each) === undefined);
  return any(grouped(led), ...rest);
}

function grouped(conditions: readonly Condition[]): Condition {
  const beginnings = conditions.map((each) => beginningOf(each) ?? '');
  const shared = sharedBeginning(beginnings);
  const groups = Map.groupBy(conditions, (each) => beginningOf(each)?.[shared.length] ?? '');
  if (conditions.length <= FEW || groups.size === 1) return any(...conditions);
  return any(
    ...[...groups.values()].map((group) => {
      const prefix = sharedBeginning(group.map((each) => beginningOf(each) ?? ''));
      return group.length === 1 || prefix === '' ? any(...group) : all(path({ prefix }), grouped(group));
    }),
  );
}

/** What every path begins with for which the condition holds; undefined where it does not say. */
function beginningOf(condition: Condition): string | undefined {
  if (condition.kind === 'all') return condition.of[0] && beginningOf(condition.of[0]);
  if (condition.kind === 'any') return beginningOfAny(condition.of);
  if (condition.kind !== 'path' || 'regex' in condition.text || condition.text.ignoreCase === true) return undefined;
  const { text } = condition;
  if ('prefix' in text) return text.prefix;
  return 'exact' in text ? text.exact : undefined;
}

function beginningOfAny(conditions: readonly Condition[]): string | undefined {
  const beginnings = conditions.map(beginningOf).filter((each) => each !== undefined);
  return beginnings.length === conditions.length ? sharedBeginning(beginnings) : undefined;
}

function sharedBeginning([first = '', ...others]: readonly string[]): string {
  let length = first.length;
  for (const other of others) while (!other.startsWith(first.slice(0, length))) length -= 1;
  return first.slice(0, length);
}
