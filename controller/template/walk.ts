// Makes functions of statements: text, actions, if, with and range.
import { compilePipeline, type Evaluate } from './evaluate.ts';
import type { Frame } from './frame.ts';
import { actionText, elementsOf, entriesOf } from './print.ts';
import type { Branch, Statement } from './syntax.ts';
import { Fault, type TemplateSource } from './template-error.ts';
import { indirect, intValue, isTrue, type Result, type Value } from './value.ts';

/** Whether to go on, or to leave the innermost range or its turn. */
type Flow = 'on' | 'break' | 'continue';

/** Carries out statements, writing into the frame. */
export type Walk = (frame: Frame, dot: Result) => Flow;

/** @throws {TemplateError} `certain` for what would fail whenever it is reached. */
export function compileStatements(statements: readonly Statement[], source: TemplateSource): Walk {
  const walks = statements.map((statement) => compileStatement(statement, source));
  return (frame, dot) => {
    for (const walk of walks) {
      const flow = walk(frame, dot);
      if (flow !== 'on') return flow;
    }
    return 'on';
  };
}

function compileStatement(statement: Statement, source: TemplateSource): Walk {
  const { at } = statement;
  switch (statement.kind) {
    case 'text':
      return textWalk(statement.text);
    case 'action':
      return actionWalk(compilePipeline(statement.pipeline, source), at, statement.pipeline.variables.length === 0);
    case 'break':
    case 'continue':
      return () => statement.kind;
    case 'range':
      return new RangeWalk(statement, source).run;
    default:
      return choiceWalk(statement, source);
  }
}

function textWalk(text: string): Walk {
  return (frame) => {
    frame.write(text);
    return 'on';
  };
}

function actionWalk(value: Evaluate, at: number, prints: boolean): Walk {
  return (frame, dot) => {
    frame.at = at;
    const result = value(frame, dot);
    if (prints) {
      frame.at = at;
      frame.write(actionText(result));
    }
    return 'on';
  };
}

function choiceWalk({ kind, at, pipeline, body, otherwise }: Branch, source: TemplateSource): Walk {
  const condition = compilePipeline(pipeline, source);
  const [then, or] = [compileStatements(body, source), compileStatements(otherwise, source)];
  return (frame, dot) => {
    frame.at = at;
    const { depth } = frame;
    const value = frame.budget.read(condition(frame, dot));
    const flow = isTrue(value) ? then(frame, kind === 'with' ? value : dot) : or(frame, dot);
    frame.close(depth);
    return flow;
  };
}

class RangeWalk {
  readonly #branch: Branch;
  readonly #value: Evaluate;
  readonly #body: Walk;
  readonly #otherwise: Walk;

  constructor(branch: Branch, source: TemplateSource) {
    this.#branch = branch;
    this.#value = compilePipeline(branch.pipeline, source);
    this.#body = compileStatements(branch.body, source);
    this.#otherwise = compileStatements(branch.otherwise, source);
  }

  readonly run: Walk = (frame, dot) => {
    frame.at = this.#branch.at;
    const { depth } = frame;
    const value = this.#value(frame, dot);
    frame.at = this.#branch.at;
    const flow = this.#turns(frame, value) ? 'on' : this.#otherwise(frame, dot);
    frame.close(depth);
    return flow;
  };

  /** Whether there was anything to go through. */
  #turns(frame: Frame, value: Result): boolean {
    const inside = frame.depth;
    let any = false;
    for (const [index, element] of this.#elements(frame, value)) {
      any = true;
      this.#setVariables(frame, index, element);
      const flow = this.#body(frame, element);
      frame.close(inside);
      if (flow === 'break') break;
    }
    return any;
  }

  #setVariables(frame: Frame, index: Result, element: Value): void {
    const [first, second] = this.#branch.pipeline.variables;
    if (first === undefined) return;
    const [one, two] = second === undefined ? [element, undefined] : [index, element];
    if (this.#branch.pipeline.assigns) {
      frame.assign(first, one);
      if (second !== undefined) frame.assign(second, two);
      return;
    }
    frame.setFromTop(second === undefined ? 0 : 1, one);
    if (second !== undefined) frame.setFromTop(0, two);
  }

  *#elements(frame: Frame, value: Result): Generator<readonly [Result, Value]> {
    if (value === undefined) return;
    const range = indirect(value);
    if (range.kind === 'int' || range.kind === 'uint') {
      yield* this.#numbers(frame, range);
    } else if (range.kind === 'slice') {
      // All elements are made before the first turn.
      frame.budget.spend(range.data?.length ?? 0);
      for (const [index, element] of elementsOf(range).entries()) yield [intValue(index), element];
    } else if (range.kind === 'map') {
      frame.budget.spend(Object.keys(range.data ?? {}).length);
      yield* entriesOf(range);
    } else {
      throw new Fault('execution', `range cannot go through ${range.type.name}`);
    }
  }

  *#numbers(frame: Frame, range: Extract<Value, { kind: 'int' | 'uint' }>): Generator<readonly [Result, Value]> {
    if (this.#branch.pipeline.variables.length > 1) throw new Fault('execution', 'a range over a number sets one variable only');
    for (let number = 0n; number < range.data; number += 1n) {
      frame.budget.spend();
      yield [undefined, { ...range, data: number }];
    }
  }
}
