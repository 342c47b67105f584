// eq, ne, lt, le, gt and ge, with Go's rules on what compares with what.
import { Fault } from './template-error.ts';
import { compareStrings, type Result, type Value } from './value.ts';

/** `eq a b c`: whether a equals any of the others. */
export function equalsAny(left: Result, others: readonly Result[]): boolean {
  if (others.length === 0) throw new Fault('execution', 'there is nothing to compare with');
  return others.some((right) => equal(left, right));
}

/** `lt a b`. */
export function less(left: Result, right: Result): boolean {
  const [a, b] = [orderable(left), orderable(right)];
  if (isInteger(a) && isInteger(b)) return a.data < b.data;
  if (a.kind !== b.kind) throw incompatible(a, b);
  if (a.kind === 'string' && b.kind === 'string') return compareStrings(a.data, b.data) < 0;
  if (a.kind === 'float' && b.kind === 'float') return a.data < b.data;
  throw new Fault('execution', `${a.type.name} has no order`);
}

/** `le a b`. */
export function lessOrEqual(left: Result, right: Result): boolean {
  return less(left, right) || equal(left, right);
}

function equal(left: Result, right: Result): boolean {
  const [leftBasic, rightBasic] = [isBasic(left), isBasic(right)];
  if (!leftBasic && !rightBasic) return equalNils(left, right);
  if (left === undefined || right === undefined) return false;
  if (isInteger(left) && isInteger(right)) return left.data === right.data;
  if (left.kind !== right.kind) throw incompatible(left, right);
  return left.data === right.data;
}

/** Of what has no value that compares: one nil equals another, and all else cannot be said. */
function equalNils(left: Result, right: Result): boolean {
  if (left !== undefined && right !== undefined && !sameKind(left, right)) throw incompatible(left, right);
  const [leftNil, rightNil] = [isNil(left), isNil(right)];
  if (leftNil || rightNil) return leftNil && rightNil;
  throw new Fault('unsupported', `two values of type ${left?.type.name ?? 'nil'} cannot be compared as a whole`);
}

function sameKind(left: Value, right: Value): boolean {
  const kinds = [left.kind, right.kind].map((kind) => (kind === 'opaque' ? 'struct' : kind));
  return kinds[0] === kinds[1];
}

function isNil(value: Result): boolean {
  return value === undefined || (['pointer', 'slice', 'map'].includes(value.kind) && value.data === null);
}

type Basic = Extract<Value, { kind: 'string' | 'bool' | 'int' | 'uint' | 'float' }>;

function isBasic(value: Result): value is Basic {
  return value !== undefined && ['string', 'bool', 'int', 'uint', 'float'].includes(value.kind);
}

function isInteger(value: Value): value is Extract<Value, { kind: 'int' | 'uint' }> {
  return value.kind === 'int' || value.kind === 'uint';
}

function orderable(value: Result): Basic {
  if (isBasic(value)) return value;
  throw new Fault('execution', `${value?.type.name ?? 'nil'} cannot be compared`);
}

function incompatible(left: Value, right: Value): Fault {
  return new Fault('execution', `${left.type.name} and ${right.type.name} cannot be compared`);
}
