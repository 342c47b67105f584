// `printf`: the verbs and flags of Go's fmt, and what it prints for wrong ones.
import { elementsOf, entriesOf, floatText, plainText, stringer, unprintable } from './print.ts';
import { quoted } from './quote.ts';
import { Fault } from './template-error.ts';
import { type Result, type Value } from './value.ts';

/** `%-08.3d`: what stands between the percent sign and the verb. */
interface Directive {
  readonly verb: string;
  readonly minus: boolean;
  readonly plus: boolean;
  readonly sharp: boolean;
  readonly space: boolean;
  readonly zero: boolean;
  readonly width: number;
  readonly precision: number | undefined;
}

/** Wider than any ID. */
const MAX_WIDTH = 4_096;

const DIRECTIVE = /%([-+# 0]*)(\*|\[|[0-9]*)(\.(?!$)(?:\*|\[|[0-9]*))?(\[)?(.|$)/suy;

/** `printf FORMAT VALUES`. */
export function formatted(format: string, values: readonly Result[]): string {
  let text = '';
  let used = 0;
  for (let at = 0; at < format.length;) {
    const percent = format.indexOf('%', at);
    if (percent < 0) return text + format.slice(at) + surplus(values.slice(used));
    text += format.slice(at, percent);
    DIRECTIVE.lastIndex = percent;
    const match = DIRECTIVE.exec(format);
    if (match === null) throw new Fault('unsupported', 'the format cannot be read');
    at = DIRECTIVE.lastIndex;
    const directive = directiveOf(match);
    if (directive.verb === '') return `${text}%!(NOVERB)${surplus(values.slice(used))}`;
    if (directive.verb === '%') text += '%';
    else if (used >= values.length) text += `%!${directive.verb}(MISSING)`;
    else text += formatValue(values[used++], directive);
  }
  return text + surplus(values.slice(used));
}

function directiveOf([, flags = '', width = '', precision, index, verb = '']: RegExpExecArray): Directive {
  if (index !== undefined || /[*[]/.test(width + (precision ?? ''))) {
    throw new Fault('unsupported', 'printf takes no * and no [n] here: write the width, and the values in their order');
  }
  const digits = precision?.slice(1);
  if (Number(width) > MAX_WIDTH || Number(digits ?? 0) > MAX_WIDTH)
    throw new Fault('limit', `printf is limited to a width of ${MAX_WIDTH}`);
  // With %v the plus sign and # mean the fields' names and Go syntax.
  if (verb === 'v' && flags.includes('#')) throw new Fault('unsupported', 'printf prints no Go syntax: %#v is not supported');
  return {
    verb,
    minus: flags.includes('-'),
    plus: flags.includes('+') && verb !== 'v',
    sharp: flags.includes('#'),
    space: flags.includes(' '),
    zero: flags.includes('0'),
    width: Number(width),
    precision: digits === undefined ? undefined : Number(digits),
  };
}

/** What Go adds for values that the format does not use. */
function surplus(values: readonly Result[]): string {
  if (values.length === 0) return '';
  return `%!(EXTRA ${values.map((value) => (value === undefined ? '<nil>' : `${typeName(value)}=${plainText(value)}`)).join(', ')})`;
}

function formatValue(value: Result, directive: Directive): string {
  const { verb } = directive;
  if (value === undefined) return 'Tv'.includes(verb) ? padded('<nil>', directive) : `%!${verb}(<nil>)`;
  if (verb === 'T') return padded(truncated(typeName(value), directive), directive);
  if (verb === 'w') throw new Fault('unsupported', 'printf knows no %w');
  const own = 'vsxXq'.includes(verb) ? stringer(value) : undefined;
  if (own !== undefined) return value.kind === 'pointer' ? nilOrTime(value, own, directive) : formatString(own, value, directive);
  return formatKind(value, directive);
}

function nilOrTime(value: Value, own: string, directive: Directive): string {
  if (value.data !== null) return formatString(own, value, directive);
  const target = value.type.element;
  if (target.name === 'v1.Time') return own;
  if (target.kind === 'opaque') throw new Fault('unsupported', `printf of a nil ${value.type.name} is not supported`);
  return formatNil(value, directive);
}

function formatKind(value: Value, directive: Directive): string {
  switch (value.kind) {
    case 'string':
      return formatString(value.data, value, directive);
    case 'bool':
      return 'tv'.includes(directive.verb) ? padded(String(value.data), directive) : badVerb(value, directive);
    case 'int':
    case 'uint':
      return formatInteger(value.data, value, directive);
    case 'float':
      return formatFloat(value.data, value, directive);
    case 'slice':
      if (directive.verb === 'p') return unprintable(value);
      return `[${elementsOf(value)
        .map((element) => formatValue(element, directive))
        .join(' ')}]`;
    case 'map':
      if (directive.verb === 'p') return unprintable(value);
      return `map[${entriesOf(value)
        .map((entry) => entry.map((part) => formatValue(part, directive)).join(':'))
        .join(' ')}]`;
    case 'pointer':
      return value.data === null ? formatNil(value, directive) : unprintable(value);
    default:
      return unprintable(value);
  }
}

function typeName({ type }: Value): string {
  if (type.name.includes('identitytemplate.')) throw new Fault('unsupported', 'the root has no type name to print');
  return type.name;
}

/** `%!d(string=a)`: the verb means nothing for the value. */
function badVerb(value: Value, directive: Directive): string {
  const { verb } = directive;
  return `%!${verb}(${typeName(value)}=${formatKind(value, { ...directive, verb: 'v' })})`;
}

function formatNil(value: Value, directive: Directive): string {
  if (directive.verb === 'v') return padded('<nil>', directive);
  if ('bodxX'.includes(directive.verb)) return formatInteger(0n, value, directive);
  if (directive.verb === 'p') throw new Fault('unsupported', 'printf prints no addresses: %p is not supported');
  return badVerb(value, directive);
}

function formatString(text: string, value: Value, directive: Directive): string {
  switch (directive.verb) {
    case 'v':
    case 's':
      return padded(truncated(text, directive), directive);
    case 'q':
      if (directive.sharp) throw new Fault('unsupported', 'printf prints no raw strings: %#q is not supported');
      return padded(quoted(truncated(text, directive), '"', directive.plus), directive);
    case 'x':
    case 'X':
      return formatBytes(Buffer.from(text), directive);
    default:
      return badVerb(value, directive);
  }
}

function formatBytes(bytes: Buffer, directive: Directive): string {
  const mark = directive.sharp ? `0${directive.verb}` : '';
  const shown = bytes.subarray(0, directive.precision ?? bytes.length);
  const pairs = [...shown].map((byte) => byte.toString(16).padStart(2, '0'));
  const digits = directive.verb === 'X' ? pairs.map((pair) => pair.toUpperCase()) : pairs;
  if (digits.length === 0) return padded('', directive);
  return padded(directive.space ? digits.map((pair) => mark + pair).join(' ') : mark + digits.join(''), directive);
}

function formatFloat(number: number, value: Value, directive: Directive): string {
  if (!'vbeEfFgGxX'.includes(directive.verb)) return badVerb(value, directive);
  const plain = !directive.sharp && !directive.plus && !directive.space && !directive.zero && directive.precision === undefined;
  if (!plain || !'vg'.includes(directive.verb)) {
    throw new Fault('unsupported', 'printf of a float knows %v and %g, with no flag but a width');
  }
  return padded(floatText(number), directive);
}

const BASES: Readonly<Record<string, number>> = { v: 10, d: 10, b: 2, o: 8, O: 8, x: 16, X: 16 };

function formatInteger(number: bigint, value: Value, directive: Directive): string {
  const base = BASES[directive.verb];
  if (base !== undefined) return formatDigits(number, base, directive);
  const character = characterOf(number);
  if (directive.verb === 'c') return padded(character, directive);
  if (directive.verb === 'q') return padded(quoted(character, "'", directive.plus), directive);
  if (directive.verb !== 'U') return badVerb(value, directive);
  if (directive.sharp || number < 0n) throw new Fault('unsupported', 'printf of %#U or of %U for less than 0 is not supported');
  const digits = number
    .toString(16)
    .toUpperCase()
    .padStart(Math.max(4, directive.precision ?? 0), '0');
  return padded(`U+${digits}`, { ...directive, zero: false });
}

function characterOf(number: bigint): string {
  const isCharacter = number >= 0n && number <= 0x10_ffffn && (number < 0xd800n || number > 0xdfffn);
  return isCharacter ? String.fromCodePoint(Number(number)) : '\uFFFD';
}

function formatDigits(number: bigint, base: number, directive: Directive): string {
  const { verb, sharp, plus, space, minus, zero, width, precision } = directive;
  const unpadded = { ...directive, zero: false };
  if (precision === 0 && number === 0n) return padded('', unpadded);
  const sign = number < 0n ? '-' : plus ? '+' : space ? ' ' : '';
  const filled = precision === undefined && zero && !minus ? width - sign.length : (precision ?? 0);
  const lower = (number < 0n ? -number : number).toString(base).padStart(filled, '0');
  const digits = verb === 'X' ? lower.toUpperCase() : lower;
  return padded(sign + prefixOf(digits, base, { verb, sharp }) + digits, unpadded);
}

function prefixOf(digits: string, base: number, { verb, sharp }: { verb: string; sharp: boolean }): string {
  const octal = verb === 'O' ? '0o' : '';
  if (!sharp) return octal;
  if (base === 2) return '0b';
  if (base === 8) return octal + (digits.startsWith('0') ? '' : '0');
  return base === 16 ? `0${verb}` : '';
}

function truncated(text: string, { precision }: Directive): string {
  return precision === undefined ? text : Array.from(text).slice(0, precision).join('');
}

function padded(text: string, { width, minus, zero }: Directive): string {
  const missing = width - Array.from(text).length;
  if (missing <= 0) return text;
  return minus ? text + ' '.repeat(missing) : (zero ? '0' : ' ').repeat(missing) + text;
}
