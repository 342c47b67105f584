import type { Budget } from './budget.ts';
import { Fault } from './template-error.ts';
import type { Result } from './value.ts';

/** What one rendering knows: its output so far, its variables, where it is. */
export class Frame {
  readonly budget: Budget;
  /** Offset of what is being evaluated, for errors. */
  at = 0;
  output = '';
  readonly #names: string[] = [];
  readonly #values: Result[] = [];

  constructor(root: Result, budget: Budget) {
    this.budget = budget;
    this.declare('$', root);
  }

  /** How many variables there are: what {@link close} goes back to. */
  get depth(): number {
    return this.#names.length;
  }

  declare(name: string, value: Result): void {
    this.#names.push(name);
    this.#values.push(value);
  }

  /** Drops the variables declared since the depth was taken. */
  close(depth: number): void {
    this.#names.length = depth;
    this.#values.length = depth;
  }

  variable(name: string): Result {
    return this.#values[this.#indexOf(name)];
  }

  assign(name: string, value: Result): void {
    this.#values[this.#indexOf(name)] = value;
  }

  /** Sets the variable that was declared so many before the last one. */
  setFromTop(back: number, value: Result): void {
    this.#values[this.#values.length - 1 - back] = value;
  }

  write(text: string): void {
    this.output += text;
    this.budget.text(this.output.length > 65_536 ? this.output : text);
  }

  #indexOf(name: string): number {
    const index = this.#names.lastIndexOf(name);
    if (index < 0) throw new Fault('execution', `the variable ${name} has no value yet`);
    return index;
  }
}
