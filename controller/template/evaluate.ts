// Makes functions of pipelines once, so that rendering only runs them.
import { BUILTINS, type Builtin } from './builtins.ts';
import { selectField } from './fields.ts';
import type { Frame } from './frame.ts';
import type { Command, Operand, Pipeline } from './syntax.ts';
import { Fault, TemplateError, type TemplateSource } from './template-error.ts';
import { indirect, type Result, type Value } from './value.ts';

/** Gives the value of an expression for the dot. */
export type Evaluate = (frame: Frame, dot: Result) => Result;

/** A command, which may take the value of the command before it as its last argument. */
type EvaluateCommand = (frame: Frame, dot: Result, piped: readonly Result[]) => Result;

const NOTHING: readonly Result[] = [];

/** @throws {TemplateError} `certain` for what would fail whenever it is reached. */
export function compilePipeline(pipeline: Pipeline, source: TemplateSource): Evaluate {
  const value = compileCommands(pipeline.commands, source);
  const { variables, assigns } = pipeline;
  if (variables.length === 0) return value;
  return (frame, dot) => {
    const result = value(frame, dot);
    for (const name of variables) {
      if (assigns) frame.assign(name, result);
      else frame.declare(name, result);
    }
    return result;
  };
}

function compileCommands(commands: readonly Command[], source: TemplateSource): Evaluate {
  const [first, ...rest] = commands.map((command, index) => compileCommand(command, { source, piped: index > 0 }));
  if (first === undefined) throw new TypeError('a pipeline without a command');
  if (rest.length === 0) return (frame, dot) => first(frame, dot, NOTHING);
  return (frame, dot) => rest.reduce((value, command) => command(frame, dot, [value]), first(frame, dot, NOTHING));
}

interface Place {
  readonly source: TemplateSource;
  /** Whether the value of another command comes in. */
  readonly piped: boolean;
}

function compileCommand({ first, rest, at }: Command, { source, piped }: Place): EvaluateCommand {
  if (first.kind === 'function') return compileCall({ name: first.name, at: first.at, operands: rest }, { source, piped });
  if (piped || rest.length > 0) fail(`only a function takes arguments`, { source, at: rest[0]?.at ?? at });
  if (first.kind === 'nil') fail('nil is no command', { source, at });
  return compileOperand(first, source);
}

function compileOperand(operand: Operand, source: TemplateSource): Evaluate {
  const { at } = operand;
  switch (operand.kind) {
    case 'dot':
      return (frame, dot) => {
        frame.budget.spend();
        return dot;
      };
    case 'nil':
      return () => undefined;
    case 'literal': {
      const { value } = operand;
      return (frame) => {
        frame.budget.spend();
        return value;
      };
    }
    case 'field':
      return fieldsOf((_frame, dot) => dot, operand.names, at);
    case 'variable':
      return fieldsOf(variableAt(operand.name, at), operand.names, at);
    case 'function':
      return withNothing(compileCall({ name: operand.name, at, operands: [] }, { source, piped: false }));
    case 'pipeline':
      return compilePipeline(operand.pipeline, source);
    default:
      return fieldsOf(compileOperand(operand.of, source), operand.names, at);
  }
}

function withNothing(command: EvaluateCommand): Evaluate {
  return (frame, dot) => command(frame, dot, NOTHING);
}

function variableAt(name: string, at: number): Evaluate {
  return (frame) => {
    frame.at = at;
    return frame.variable(name);
  };
}

function fieldsOf(receiver: Evaluate, names: readonly string[], at: number): Evaluate {
  return (frame, dot) => {
    let value = receiver(frame, dot);
    frame.at = at;
    frame.budget.spend(1 + names.length);
    for (const name of names) value = selectField(value, name);
    return value;
  };
}

interface Call {
  readonly name: string;
  readonly at: number;
  readonly operands: readonly Operand[];
}

function compileCall({ name, at, operands }: Call, { source, piped }: Place): EvaluateCommand {
  const builtin = BUILTINS.get(name);
  if (builtin === undefined) throw new TypeError(`no function ${name}`);
  const count = operands.length + (piped ? 1 : 0);
  if (count < builtin.minimum || count > builtin.maximum) {
    fail(`${name} takes ${builtin.minimum}${builtin.maximum > builtin.minimum ? ' or more' : ''}, not ${count} arguments`, {
      source,
      at,
    });
  }
  if (builtin.takesString === true) checkFormat(operands[0], source);
  const evaluate = operands.map((operand) => compileOperand(operand, source));
  if (builtin.decides !== undefined) return deciding(evaluate, builtin.decides);
  return (frame, dot, more) => {
    const values = evaluate.map((operand) => operand(frame, dot));
    frame.at = at;
    frame.budget.spend();
    return builtin.call(argumentsOf([...values, ...more], builtin), frame.budget);
  };
}

/** `and` and `or`: what stands behind the argument that decides is not evaluated. */
function deciding(evaluate: readonly Evaluate[], decides: (value: Result) => boolean): EvaluateCommand {
  return (frame, dot, piped) => {
    let value: Result;
    for (const operand of evaluate) {
      value = operand(frame, dot);
      frame.budget.read(value);
      frame.budget.spend();
      if (decides(value)) return value;
    }
    return piped.length > 0 ? piped[0] : value;
  };
}

function checkFormat(format: Operand | undefined, source: TemplateSource): void {
  const wrong = format?.kind === 'nil' || (format?.kind === 'literal' && format.value.kind !== 'string');
  if (format !== undefined && wrong) fail('the format of printf is a string', { source, at: format.at });
}

function argumentsOf(values: readonly Result[], { takesString }: Builtin): readonly Result[] {
  if (takesString !== true) return values;
  const [format, ...rest] = values;
  return [stringArgument(format), ...rest];
}

/** A parameter of type string takes a string or a pointer to one, and no other type of the kind. */
function stringArgument(value: Result): Value {
  const target = value?.type.name === '*string' ? indirect(value) : value;
  if (target?.type.name === 'string') return target;
  throw new Fault('execution', `the format must be of type string, not ${target?.type.name ?? 'nil'}`);
}

function fail(message: string, place: { source: TemplateSource; at: number }): never {
  throw new TemplateError('certain', message, place);
}
