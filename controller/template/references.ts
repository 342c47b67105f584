// What a template may read, and what can be seen to be wrong without rendering: it is walked once with types in place of values.
import { BUILTINS } from './builtins.ts';
import { fieldNameIn, noField } from './fields.ts';
import { type GoType, goType } from './go-type.ts';
import { DATA_TYPE } from './pod-data.ts';
import type { Branch, Command, Operand, Pipeline, Statement } from './syntax.ts';
import { Fault, TemplateError, type TemplateSource } from './template-error.ts';
import { BOOL, INT, STRING } from './value.ts';

/** What is known of a value. */
interface Shape {
  /** Missing when it cannot be told. */
  readonly type?: GoType | undefined;
  /** Where it lies in the data; missing when it was computed. */
  readonly path?: readonly string[] | undefined;
  /** Whether the path leads right to it, rather than to a list or map that holds it. */
  readonly exact?: boolean;
}

type Shapes = readonly Shape[];

/** Rounds until nothing new is learned about variables; types do not nest deeper than that. */
const MAX_ROUNDS = 16;

/**
 * Field paths that the statements may read, without those that another one covers.
 *
 * @throws {TemplateError} `certain` for a field that does not exist, `unsupported` for printing what has no certain text.
 */
export function referencesOf(statements: readonly Statement[], source: TemplateSource): string[][] {
  const survey = new Survey(source);
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const known = survey.knowledge;
    survey.statements(statements, [ROOT]);
    if (survey.knowledge !== known) continue;
    survey.strict = true;
    survey.statements(statements, [ROOT]);
    return withoutCovered(survey.read);
  }
  return [[]];
}

const ROOT: Shape = { type: DATA_TYPE, path: [], exact: true };

function withoutCovered(paths: Iterable<string>): string[][] {
  const all = [...paths].sort().map((path) => (path === '' ? [] : path.split('.')));
  const covers = (short: readonly string[], long: readonly string[]): boolean =>
    short.length < long.length && short.every((name, index) => name === long[index]);
  return all.filter((path) => !all.some((other) => covers(other, path)));
}

class Survey {
  readonly read = new Set<string>();
  /** Whether what is wrong fails: not before everything is known that a variable may hold. */
  strict = false;
  readonly #source: TemplateSource;
  /** By name, whatever the scope: what any variable of that name may hold. */
  readonly #variables = new Map<string, Map<string, Shape>>([['$', new Map([['root', ROOT]])]]);

  constructor(source: TemplateSource) {
    this.#source = source;
  }

  /** Grows with each thing learned about a variable. */
  get knowledge(): number {
    return this.#variables.values().reduce((sum, shapes) => sum + shapes.size, 0);
  }

  statements(statements: readonly Statement[], dot: Shapes): void {
    for (const statement of statements) {
      if (statement.kind === 'action') this.#action(statement.pipeline, dot, statement.at);
      else if ('body' in statement) this.#branch(statement, dot);
    }
  }

  #action(pipeline: Pipeline, dot: Shapes, at: number): void {
    const shapes = this.#pipeline(pipeline, dot);
    if (pipeline.variables.length > 0) return;
    this.#readAll(shapes);
    this.#checkPrintable(shapes, at);
  }

  #branch({ kind, pipeline, body, otherwise }: Branch, dot: Shapes): void {
    const shapes = this.#pipeline(pipeline, dot);
    if (kind === 'range') {
      this.#readAll(shapes);
      const elements = shapes.map(elementOf);
      const [first, second] = pipeline.variables;
      if (first !== undefined) this.#learn(second === undefined ? first : second, elements);
      if (first !== undefined && second !== undefined) this.#learn(first, shapes.map(keyOf));
      this.statements(body, elements);
    } else {
      this.#readTruth(shapes);
      this.statements(body, kind === 'with' ? shapes : dot);
    }
    this.statements(otherwise, dot);
  }

  #pipeline({ commands, variables }: Pipeline, dot: Shapes): Shapes {
    let shapes: Shapes = [];
    commands.forEach((command, index) => {
      shapes = this.#command(command, { dot, piped: index > 0 ? [shapes] : [] });
    });
    for (const name of variables) this.#learn(name, shapes);
    return shapes;
  }

  #command({ first, rest }: Command, { dot, piped }: { dot: Shapes; piped: readonly Shapes[] }): Shapes {
    if (first.kind !== 'function') return this.#operand(first, dot);
    const values = [...rest.map((operand) => this.#operand(operand, dot)), ...piped];
    const places = [...rest.map(({ at }) => at), first.at];
    return this.#call(first.name, values, places);
  }

  #operand(operand: Operand, dot: Shapes): Shapes {
    switch (operand.kind) {
      case 'dot':
        return dot;
      case 'nil':
        return [{}];
      case 'literal':
        return [{ type: operand.value.type }];
      case 'field':
        return this.#fields(dot, operand.names, operand.at);
      case 'variable':
        return this.#fields([...(this.#variables.get(operand.name)?.values() ?? [])], operand.names, operand.at);
      case 'function':
        return this.#call(operand.name, [], [operand.at]);
      case 'pipeline':
        return this.#pipeline(operand.pipeline, dot);
      default:
        return this.#fields(this.#operand(operand.of, dot), operand.names, operand.at);
    }
  }

  #call(name: string, values: readonly Shapes[], places: readonly number[]): Shapes {
    if (name === 'and' || name === 'or') {
      for (const shapes of values) this.#readTruth(shapes);
      return values.flat();
    }
    for (const shapes of values) this.#readAll(shapes);
    if (BUILTINS.get(name)?.prints === true) values.forEach((shapes, index) => this.#checkPrintable(shapes, places[index] ?? 0));
    const [first = []] = values;
    if (name === 'slice') return first.map((shape) => ({ ...shape, exact: false }));
    if (name === 'index') return values.slice(1).reduce((shapes: Shapes) => shapes.map(elementOf), first);
    return [{ type: resultOf(name) }];
  }

  #fields(shapes: Shapes, names: readonly string[], at: number): Shapes {
    const found = names.reduce(
      (receivers: Shapes, name) => receivers.map((shape) => this.#field(shape, name, receivers.length > 1 ? undefined : at)),
      shapes,
    );
    // Going through a pointer that may be nil, or into a map, can fail by itself: it is a read, whatever becomes of the value.
    this.#readAll(found.filter(({ path, exact }) => exact !== true || (path !== undefined && path.length > 2)));
    return found;
  }

  /** `at` is missing when other receivers are possible, so that nothing is certain. */
  #field({ type, path, exact = false }: Shape, name: string, at: number | undefined): Shape {
    const target = type === undefined ? undefined : pointee(type);
    if (target?.kind === 'map' && target.keyName === 'string') return { type: target.element, path, exact: false };
    if (target?.kind !== 'struct' && target?.kind !== 'opaque') return { path, exact: false };
    const field = target.fields.get(fieldNameIn(target, name));
    if (field !== undefined) return { type: field.type, exact, path: path !== undefined && exact ? [...path, field.name] : path };
    if (at !== undefined) this.#fail(noField(target, name, type), at);
    return { path, exact: false };
  }

  #learn(name: string, shapes: Shapes): void {
    const known = this.#variables.get(name) ?? new Map<string, Shape>();
    this.#variables.set(name, known);
    for (const shape of shapes) known.set(`${shape.type?.name} ${shape.path?.join('.')} ${shape.exact}`, shape);
  }

  #readAll(shapes: Shapes): void {
    for (const { path } of shapes) if (path !== undefined) this.read.add(path.join('.'));
  }

  /** The four objects themselves are there or not whatever is read of them. */
  #readTruth(shapes: Shapes): void {
    this.#readAll(
      shapes.filter(
        ({ type, path, exact }) => !(exact === true && path !== undefined && path.length < 2 && type?.kind === 'pointer'),
      ),
    );
  }

  #checkPrintable(shapes: Shapes, at: number): void {
    const [shape, ...more] = shapes;
    if (shape?.type === undefined || more.length > 0) return;
    const printed = innermost(shape.type);
    if (printed.kind !== 'struct' && (printed.kind !== 'opaque' || printed.name === 'v1.Time')) return;
    this.#fail(new Fault('unsupported', `${shape.type.name} cannot be printed as a whole: name one of its fields`), at);
  }

  #fail({ failure, message }: Fault, at: number): void {
    if (!this.strict) return;
    throw new TemplateError(failure === 'execution' ? 'certain' : failure, message, { source: this.#source, at });
  }
}

function pointee(type: GoType): GoType {
  return type.kind === 'pointer' ? pointee(type.element) : type;
}

/** What is printed last when a value of the type is: of a pointer, a list or a map what it holds. */
function innermost(type: GoType): GoType {
  return type.kind === 'pointer' || type.kind === 'slice' || type.kind === 'map' ? innermost(type.element) : type;
}

function elementOf({ type, path }: Shape): Shape {
  const target = type === undefined ? undefined : pointee(type);
  if (target?.kind === 'slice' || target?.kind === 'map') return { type: target.element, path, exact: false };
  return target?.kind === 'int' ? { type: target } : { path, exact: false };
}

function keyOf({ type }: Shape): Shape {
  const target = type === undefined ? undefined : pointee(type);
  return target?.kind === 'map' ? { type: goType(target.keyName) } : { type: target?.kind === 'slice' ? INT : undefined };
}

function resultOf(name: string): GoType {
  if (name === 'len') return INT;
  return ['eq', 'ge', 'gt', 'le', 'lt', 'ne', 'not'].includes(name) ? BOOL : STRING;
}
