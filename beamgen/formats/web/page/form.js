// The form: what the reader asks for, and where a field is wrong.

import { element } from './format.js';
import { SAMPLING, defaults } from './settings.js';

const $ = (id) => document.getElementById(id);

const NUMBERS = [
  'num_beams',
  'num_return_sequences',
  'max_new_tokens',
  'length_penalty',
  'temperature',
  'top_k',
  'top_p',
];

/** A language's name in English with its code, `deu_Latn` or `de_DE`; the code alone where there is none. */
function languageName(code) {
  try {
    const name = new Intl.DisplayNames(['en'], { type: 'language', fallback: 'none' });
    const found = name.of(code.replace(/_[A-Z]{2}$/, '').replace('_', '-'));
    return found ? `${found} (${code})` : code;
  } catch {
    return code;
  }
}

export class Form {
  /** Fill in a page's defaults and examples; `onPrompt` hears of every change to the prompt. */
  constructor(page, onPrompt) {
    this.page = page;
    this.onPrompt = onPrompt;
    const settings = defaults(page, 1);
    // a package that returns one answer would make a dull page
    if (settings.num_return_sequences === 1) settings.num_return_sequences = settings.num_beams;
    for (const name of NUMBERS) $(name).value = $(name).defaultValue = settings[name];
    $('do_sample').checked = $('drawing').open = settings.do_sample;
    if (settings.seed !== null) $('seed').value = settings.seed;
    this.prepareText();
    if (page.encoder) this.prepareSource();
    this.prepareExamples();
    $('num_beams').addEventListener('input', () => this.follow());
    $('do_sample').addEventListener('change', () => this.enable());
    for (const input of $('form').querySelectorAll('input, textarea, select')) {
      input.addEventListener('input', () => this.accept(input.id));
    }
    $('prompt').addEventListener('input', () => onPrompt(this.prompt()));
    for (const id of ['chat', 'src_lang']) {
      $(id).addEventListener('change', () => onPrompt(this.prompt()));
    }
    $('prompt').addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('form').requestSubmit();
    });
    this.enable();
  }

  prepareText() {
    const { kind, chat, reason } = this.page.text;
    $('chat-choice').hidden = !chat;
    // a model that was taught to chat says little to a bare prompt; the examples are bare
    $('chat').checked = Boolean(chat) && !this.page.examples.length;
    if (kind === 'tokenizer') return;
    $('prompt-label').textContent = 'Prompt, in token ids';
    $('prompt').inputMode = 'numeric';
    $('prompt').spellcheck = false;
    $('prompt-hint').hidden = false;
    $('prompt-hint').textContent =
      `${reason} So it takes the numbers of tokens, from 0 to ${this.page.vocab_size - 1}, ` +
      'with spaces between them.';
  }

  /** Of an encoder-decoder: a text to read, its language and the answers', and how they begin. */
  prepareSource() {
    const { text, inputs } = this.page;
    const ids = text.kind === 'tokenizer' ? '' : ', in token ids';
    $('lede').textContent =
      'Give the model a text. It reads all of it, then writes answers: it follows several at once, ' +
      'keeps the likeliest at every step, and shows you all of them. It runs on this device: what ' +
      'you write is sent nowhere.';
    $('prompt-label').textContent = `Text to read${ids}`;
    $('reading').hidden = false;
    if (ids) $('decoder_prompt-hint').textContent = 'token ids to go on from, or nothing';
    if (!text.languages) return;
    for (const field of $('reading').querySelectorAll('.language')) field.hidden = false;
    const own = [inputs.forced_bos_token_id.value, this.page.encoder.decoder_start_token_id];
    const languages = Object.entries(text.languages.ids)
      .map(([code, id]) => ({ code, id, label: languageName(code) }))
      .sort((a, b) => a.label.localeCompare(b.label));
    const options = (chosen) =>
      languages.map(({ code, id, label }) =>
        element('option', { value: code, selected: chosen(code, id) }, label),
      );
    $('src_lang').append(...options((code) => code === text.languages.src_lang));
    $('tgt_lang').append(
      element('option', { value: '' }, 'as the model has it'),
      ...options((_, id) => own.includes(id)),
    );
  }

  prepareExamples() {
    const { examples, text } = this.page;
    const written = ({ text: plain, ids }) => (text.kind === 'tokenizer' ? plain : ids.join(' '));
    $('examples').hidden = !examples.length;
    $('examples').append(
      ...examples.map((example) => {
        const button = element('button', { type: 'button', class: 'quiet' }, example.text);
        button.addEventListener('click', () => {
          $('prompt').value = written(example);
          $('prompt').dispatchEvent(new Event('input'));
          $('prompt').focus();
        });
        return button;
      }),
    );
    if (examples.length && !$('prompt').value) $('prompt').value = written(examples[0]);
  }

  /** While nobody chose how many answers there are, there are as many as beams. */
  follow() {
    const answers = $('num_return_sequences');
    if (answers.value !== answers.defaultValue || !$('num_beams').value) return;
    answers.value = answers.defaultValue = $('num_beams').value;
  }

  enable() {
    for (const input of $('drawing-fields').querySelectorAll('input')) {
      input.disabled = !$('do_sample').checked;
    }
  }

  prompt() {
    const chat = !$('chat-choice').hidden && $('chat').checked;
    const read = { text: $('prompt').value, chat };
    if (!this.page.encoder) return read;
    const decoder_text = $('decoder_prompt').value;
    return { ...read, decoder_text, src_lang: $('src_lang').value, tgt_lang: $('tgt_lang').value };
  }

  /** What was set, under HF's names; null stands for the package's own. */
  settings() {
    const given = Object.fromEntries(NUMBERS.map((name) => [name, this.number(name)]));
    const longest = $('max_new_tokens');
    // the default gives way to a long prompt, a choice does not
    if (longest.value === longest.defaultValue) given.max_new_tokens = null;
    const do_sample = $('do_sample').checked;
    if (!do_sample) return { ...given, ...Object.fromEntries(SAMPLING.map((name) => [name, null])), do_sample };
    const seed = $('seed').value.trim();
    return { ...given, do_sample, seed: seed === '' ? null : seed };
  }

  /** A number as written; not-a-number is refused with the reason later on. */
  number(name) {
    const { value, validity } = $(name);
    if (validity.badInput) return NaN;
    return value === '' ? NaN : Number(value);
  }

  /** Say what is wrong where it is. */
  refuse(field, message) {
    const input = $(field);
    const said = $(`${field}-error`);
    said.textContent = message;
    said.hidden = false;
    input.setAttribute('aria-invalid', 'true');
    if (input.closest('details')) input.closest('details').open = true;
    input.focus();
  }

  accept(field) {
    $(field).removeAttribute('aria-invalid');
    const said = $(`${field}-error`);
    if (said) said.hidden = true;
  }

  acceptAll() {
    for (const input of $('form').querySelectorAll('[aria-invalid]')) this.accept(input.id);
  }
}
