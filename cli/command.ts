import { parseArgs } from 'node:util';

import { IdentityError } from '../core/errors.ts';

/** One option of a command. */
export interface OptionSpec {
  /** What its value is, such as `FILE`; absent for a switch. */
  readonly value?: string;
  /** Its one letter, where it has one. */
  readonly short?: string;
  readonly summary: string;
  /** May be given several times. */
  readonly multiple?: boolean;
  readonly required?: boolean;
}

/** One command: how it is called, what help says of it, and where its code is. */
export interface CommandSpec {
  /** Its words, such as `['entry', 'create']`. */
  readonly path: readonly string[];
  readonly summary: string;
  /** Its positional arguments as help shows them, such as `PID`. */
  readonly positionals?: string;
  /** The option that positional arguments stand for, so that `agent show ID` is `agent show --spiffe-id ID`. */
  readonly positionalOption?: string;
  /** A second word that means nothing more and may be there, as in `token generate`. */
  readonly idleWord?: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly examples: readonly string[];
  /** Loaded only when the command is run, so that no command pays for the imports of another. */
  readonly load: () => Promise<CommandRun>;
}

/** Runs a command and yields the exit code. */
export type CommandRun = (invocation: Invocation) => Promise<number>;

/** Where a command's words come from and where its output goes. */
export interface Terminal {
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly write: (text: string) => void;
  readonly writeError: (text: string) => void;
  /** Aborts when the user interrupts. */
  readonly signal: AbortSignal;
}

type Values = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

/** The parsed words of one call of a command. */
export class Invocation {
  readonly command: CommandSpec;
  readonly terminal: Terminal;
  readonly positionals: readonly string[];
  /** The words after `--`. */
  readonly rest: readonly string[];
  readonly #values: Values;

  constructor(parts: {
    readonly command: CommandSpec;
    readonly terminal: Terminal;
    readonly positionals: readonly string[];
    readonly rest: readonly string[];
    readonly values: Values;
  }) {
    this.command = parts.command;
    this.terminal = parts.terminal;
    this.positionals = parts.positionals;
    this.rest = parts.rest;
    this.#values = parts.values;
  }

  /** The value of an option, if it was given. */
  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === 'string' ? value : undefined;
  }

  /** Each value of an option that may be given several times. */
  texts(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
  }

  /** Whether a switch was given. */
  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  /** A switch that may also be turned off: `--admin`, `--no-admin`, or neither. */
  toggle(name: string): boolean | undefined {
    const value = this.#values[name];
    return typeof value === 'boolean' ? value : undefined;
  }

  /**
   * The value of an option that must be there.
   *
   * @throws IdentityError `invalid_argument`
   */
  requiredText(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw usage(this.command, `--${name} ${this.command.options[name]?.value ?? ''} is missing`);
    return value;
  }

  /**
   * The positional arguments, as many as the command takes.
   *
   * @throws IdentityError `invalid_argument`
   */
  arguments(count: number): readonly string[] {
    if (this.positionals.length !== count) {
      throw usage(
        this.command,
        `expected ${this.command.positionals ?? 'no argument'}, found ${this.positionals.length} argument(s)`,
      );
    }
    return this.positionals;
  }
}

/** A fault in how a command was called. */
export function usage(command: CommandSpec, message: string): IdentityError {
  return new IdentityError('invalid_argument', `${message}; see countersign ${command.path.join(' ')} --help`);
}

/** Finds the command whose words come first; undefined when none does. */
export function findCommand(commands: readonly CommandSpec[], words: readonly string[]): CommandSpec | undefined {
  return commands.find(({ path }) => path.every((word, index) => words[index] === word));
}

/**
 * Reads the words after the command's own. Option names may be written as in `--spiffe-id`, `--spiffeID` or `-spiffeID`,
 * so that the lines that people know from `spire-server` work.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseInvocation(command: CommandSpec, words: readonly string[], terminal: Terminal): Invocation {
  const end = words.indexOf('--');
  const own = end === -1 ? words : words.slice(0, end);
  const rest = end === -1 ? [] : words.slice(end + 1);
  const options = Object.fromEntries(
    Object.entries(command.options).map(([name, spec]) => [
      name,
      {
        type: spec.value === undefined ? ('boolean' as const) : ('string' as const),
        multiple: spec.multiple ?? false,
        ...(spec.short === undefined ? {} : { short: spec.short }),
      },
    ]),
  );
  try {
    const parsed = parseArgs({
      args: own.map((word) => canonical(command, word)),
      options,
      allowPositionals: true,
      allowNegative: true,
    });
    const { values, positionals } = placePositionals(command, parsed);
    const missing = Object.entries(command.options).find(([name, spec]) => spec.required && values[name] === undefined);
    if (missing !== undefined) throw usage(command, `--${missing[0]} ${missing[1].value ?? ''} is missing`);
    return new Invocation({ command, terminal, positionals, rest, values });
  } catch (error) {
    if (error instanceof IdentityError || !(error instanceof TypeError)) throw error;
    throw usage(command, error.message.split('. ')[0] ?? error.message);
  }
}

interface Parsed {
  readonly values: Values;
  readonly positionals: readonly string[];
}

/** Puts positional arguments where the command wants them, and refuses those that it would ignore. */
function placePositionals(command: CommandSpec, { values, positionals: words }: Parsed): Parsed {
  const positionals = words.length > 0 && words[0] === command.idleWord ? words.slice(1) : words;
  const [first] = positionals;
  if (first === undefined) return { values, positionals };
  const { positionalOption: option } = command;
  if (option !== undefined) {
    const given = values[option];
    if (command.options[option]?.multiple) {
      return { values: { ...values, [option]: [...(Array.isArray(given) ? given : []), ...positionals] }, positionals: [] };
    }
    if (given === undefined && positionals.length === 1) return { values: { ...values, [option]: first }, positionals: [] };
    throw usage(command, `"${positionals.at(-1)}" is one argument too many`);
  }
  if (command.positionals === undefined) throw usage(command, `"${first}" is not understood; this command takes options only`);
  return { values, positionals };
}

const fold = (name: string): string => name.replaceAll('-', '').toLowerCase();

/** What `spire-server` calls some options, by our names; folded. */
const SPIRE_NAMES: Readonly<Record<string, string>> = {
  socketpath: 'socket',
  entryexpiry: 'expiresat',
  id: 'trustdomain',
  path: 'file',
};

function canonical(command: CommandSpec, word: string): string {
  const [, name, value = ''] = /^--?([A-Za-z][\w-]+)((?:=.*)?)$/s.exec(word) ?? [];
  if (name === undefined) return word;
  const find = (folded: string | undefined): string | undefined =>
    Object.keys(command.options).find((option) => fold(option) === folded);
  const known = find(fold(name)) ?? find(SPIRE_NAMES[fold(name)]);
  return known === undefined ? word : `--${known}${value}`;
}
