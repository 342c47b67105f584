// What the clauses of a rule have in common.
import { list } from '../schema/collections.ts';
import { ruled } from '../schema/schema.ts';
import type { Schema } from '../schema/schema.ts';

/** Values of which any may hold. An empty list would say nothing, or everything: it is refused. */
export function values<T>(item: Schema<T>): Schema<readonly T[]> {
  return list(item, { minItems: 1, maxItems: 64 });
}

/** An object of optional fields of which one must be there: an empty one would hold for everything. */
export function namesSomething<T extends object>(schema: Schema<T>): Schema<T> {
  const names = Object.keys(schema.openApi.properties ?? {});
  return ruled(schema, {
    cel: names.map((name) => `has(self.${name})`).join(' || '),
    message: `must have one of ${names.join(', ')}`,
    holds: (value) => Object.values(value).some((field) => field !== undefined),
  });
}

/** An object of optional fields of which exactly one must be there. */
export function namesOne<T extends object>(schema: Schema<T>, names: readonly (keyof T & string)[]): Schema<T> {
  return ruled(schema, {
    cel: `[${names.map((name) => `has(self.${name})`).join(', ')}].filter(x, x).size() == 1`,
    message: `must have exactly one of ${names.join(', ')}`,
    holds: (value) => names.filter((name) => value[name] !== undefined).length === 1,
  });
}
