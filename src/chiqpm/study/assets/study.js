"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const main = document.getElementById("main");
  const saved = `chiqpm-study-${study.id}`;
  const helps = {
    none: {
      name: "no help",
      intro: "In this part you see only the picture. Decide on your own.",
    },
    flat: {
      name: "a list of classes",
      intro: "In this part a computer suggests a class and lists all classes that it can't rule out. The list is made so "
        + `that it contains the right class for ${percent(study.coverage)} of pictures like these; it can miss it, and the `
        + "suggestion can be wrong.",
    },
    hierarchical: {
      name: "an explanation",
      intro: "In this part a computer suggests a class and explains how it got there: which features it saw, where it saw "
        + "them, and where other classes leave its path. Classes with a tick are those that it can't rule out. They are "
        + `chosen so that the right class is among them for ${percent(study.coverage)} of pictures like these; they can `
        + "miss it, and the suggestion can be wrong.",
    },
  };
  let state = { reader: null, token: null, step: 0, rows: [], started: null };
  let steps = [];
  let sending = Promise.resolve(true);

  function percent(share) { return `${Number((100 * share).toPrecision(6))} %`; }

  function h(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return element;
  }

  function save() {
    try { localStorage.setItem(saved, JSON.stringify(state)); } catch (error) { /* private windows keep nothing */ }
  }

  function forget() {
    try { localStorage.removeItem(saved); } catch (error) { /* nothing was kept */ }
  }

  function show(heading, ...content) {
    const title = h("h1", { tabindex: "-1" }, heading);
    main.replaceChildren(title, ...content.flat(Infinity));
    document.title = `${heading} – ${study.title}`;
    document.getElementById("progress").hidden = steps.length === 0;
    document.getElementById("bar").max = Math.max(1, steps.length - 1);
    document.getElementById("bar").value = state.step;
    document.getElementById("footer").hidden = state.reader === null || state.step >= steps.length - 1;
    window.scrollTo(0, 0);
    title.focus({ preventScroll: true });
  }

  function button(text, action, kind) {
    return h("button", { type: "button", class: kind, click: action }, text);
  }

  function alertLine() { return h("p", { class: "error", role: "alert" }); }

  function row(values) {
    const known = { study: study.id, reader: String(state.reader), simulated: 0, time: new Date().toISOString() };
    const full = {};
    for (const column of study.columns) full[column] = values[column] ?? known[column] ?? "";
    for (const column of ["block", "position"]) if (full[column] === "") full[column] = 0;
    return full;
  }

  function csv() {
    const cell = (value) => {
      let text = value === null || value === undefined ? "" : String(value);
      if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = [study.columns, ...state.rows.map((entry) => study.columns.map((column) => entry[column]))];
    return lines.map((line) => line.map(cell).join(",")).join("\n") + "\n";
  }

  function download() {
    const link = h("a", {
      href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })),
      download: `reader-${state.reader}-${study.id}.csv`,
    });
    document.body.append(link);
    link.click();
    link.remove();
  }

  async function post(address, value) {
    const reply = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(value),
    });
    if (!reply.ok) throw new Error(`the server answered ${reply.status}`);
    return reply.json();
  }

  // One message after the other, so that an older state never replaces a newer one.
  function send() {
    if (state.token === null) return Promise.resolve(false);
    const message = { reader: state.reader, token: state.token, rows: [...state.rows] };
    sending = sending.then(() => post("answers", message)).then(() => true, () => false);
    return sending;
  }

  function next() {
    state.step += 1;
    save();
    send();
    steps[state.step]();
  }

  function consent() {
    const box = h("input", { type: "checkbox", id: "agree" });
    const problem = alertLine();
    const begin = async () => {
      if (!box.checked) {
        problem.textContent = "Please tick the box if you agree, or close this page.";
        box.focus();
        return;
      }
      state.started = new Date().toISOString();
      if (location.protocol.startsWith("http")) {
        try {
          Object.assign(state, await post("reader", {}));
          start();
          return;
        } catch (error) { /* without a server, the answers are downloaded at the end */ }
      }
      askNumber();
    };
    const trials = study.plans[0].reduce((sum, block) => sum + block.trials.length, 0);
    show(
      study.title,
      h("p", null, `In this study you look at ${trials} pictures and say which class each of them shows. In some parts a `
        + "computer helps you. We want to find out which kind of help is useful; we don't test you."),
      h("h2", null, "Before you take part"),
      h("ul", null,
        h("li", null, "Taking part is voluntary. You can stop at any time, without a reason, and have your answers deleted."),
        h("li", null, "Recorded are your answers, how sure you are, how long each answer takes, and how long this page is "
          + "out of sight. Your name and address are not asked for and not recorded."),
        h("li", null, "Until you are done, your answers are also kept in this browser, so that you can go on after an "
          + "interruption. Nothing is sent anywhere else."),
        h("li", null, "Please don't judge pictures if you have seen their classes in another session of this study."),
        study.contact ? h("li", null, `Questions: ${study.contact}`) : null),
      h("p", { class: "check" }, box, h("label", { for: "agree" }, "I have read this and agree to take part.")),
      problem,
      h("div", { class: "actions" }, button("Begin", begin)),
    );
  }

  function askNumber() {
    const given = new URLSearchParams(location.search).get("reader") || "";
    const field = h("input", { type: "text", id: "number", inputmode: "numeric", autocomplete: "off", value: given });
    const problem = alertLine();
    const go = (event) => {
      event.preventDefault();
      if (!/^[1-9][0-9]{0,4}$/.test(field.value.trim())) {
        problem.textContent = "Please enter the number that you were given: a whole number from 1.";
        field.focus();
        return;
      }
      state.reader = Number(field.value.trim());
      start();
    };
    show(
      "Your number",
      h("form", { submit: go, novalidate: true },
        h("p", null, h("label", { for: "number" }, "Number that you were given")),
        field,
        problem,
        h("div", { class: "actions" }, h("button", { type: "submit" }, "Go on"))),
    );
  }

  function start() {
    plan();
    state.step = 0;
    save();
    send();
    steps[0]();
  }

  function plan() {
    const blocks = study.plans[(state.reader - 1) % study.plans.length];
    const total = blocks.reduce((sum, block) => sum + block.trials.length, 0);
    steps = [instructions];
    let count = 0;
    blocks.forEach((block, index) => {
      steps.push(() => introduce(block, index + 1, blocks.length));
      block.practice.forEach((item, place) => {
        steps.push(() => trial(block, index + 1, item, place + 1, "practice", "Practice picture"));
        steps.push(() => feedback(block, item));
      });
      block.trials.forEach((item, place) => {
        count += 1;
        const heading = `Picture ${count} of ${total}`;
        steps.push(() => trial(block, index + 1, item, place + 1, "trial", heading));
      });
    });
    steps.push(ratings, comments, finish);
  }

  function instructions() {
    show(
      "What to do",
      h("ol", null,
        h("li", null, "Look at the picture, and at the help where there is some."),
        h("li", null, "Choose the class that you think is right. The small pictures show an example of each class; "
          + "you can type a part of a name to find it."),
        h("li", null, "Say how likely it is that your answer is right. 100 % means that you are certain."),
        h("li", null, "Press “Next”. You can't go back.")),
      h("p", null, "Be right first, fast second: the time counts from when a picture appears until you press “Next”. Take a "
        + "break between two parts, not while a picture is shown. There are three parts; each begins with a picture for "
        + "practice, after which you are told the right answer."),
      h("div", { class: "actions" }, button("Go on", next)),
    );
  }

  function introduce(block, number, total) {
    show(
      `Part ${number} of ${total}: ${helps[block.arm].name}`,
      h("p", null, helps[block.arm].intro),
      h("p", null, "First one picture for practice."),
      h("div", { class: "actions" }, button("Show the practice picture", next)),
    );
  }

  function card(index, extra) {
    const entry = study.classes[index];
    const image = entry.picture ? h("img", { src: entry.picture, alt: "", width: 96, height: 96 }) : null;
    return h(extra ? "label" : "li", { class: "card" }, extra, image, h("span", null, entry.name));
  }

  function helpOf(arm, item) {
    if (arm === "none") return null;
    const help = item[arm];
    const suggested = study.classes[item.predicted].name;
    if (arm === "flat") {
      return h("section", { class: "help", "aria-labelledby": "help" },
        h("h2", { id: "help" }, "Help from the computer"),
        h("p", null, "Suggestion: ", h("strong", null, suggested)),
        h("p", null, `Classes that it can't rule out (${help.classes.length}):`),
        h("ul", { class: "cards" }, help.classes.map((index) => card(index))));
    }
    return h("section", { class: "help", "aria-labelledby": "help" },
      h("h2", { id: "help" }, "Help from the computer"),
      h("p", null, help.sentence),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Explanation, can be scrolled" },
        h("picture", null,
          h("source", { media: "(max-width: 40rem)", srcset: help.narrow }),
          h("img", { src: help.figure, alt: `Explanation of the suggestion ${suggested}; below in words` }))),
      h("details", null, h("summary", null, "The explanation in words"), h("pre", null, help.text)));
  }

  function scale(name, legend, values, describe) {
    return h("fieldset", null,
      h("legend", null, legend),
      h("div", { class: "scale" }, values.map((value) => h("label", null,
        h("input", { type: "radio", name, value: String(value) }), h("span", null, describe(value))))));
  }

  function chosen(form, name) {
    const input = form.querySelector(`input[name="${name}"]:checked`);
    return input === null ? null : input.value;
  }

  function trial(block, number, name, position, kind, heading) {
    const item = study.items[name];
    const problem = alertLine();
    const options = item.options.map((index) => card(
      index, h("input", { type: "radio", name: "answer", value: String(index) })));
    const none = h("p", { class: "note", role: "status" });
    const filter = item.options.length <= 8 ? null : h("p", null,
      h("label", { for: "filter" }, "Find a class by a part of its name"), h("br"),
      h("input", {
        type: "search", id: "filter", autocomplete: "off",
        input: (event) => {
          const wanted = event.target.value.trim().toLowerCase();
          let left = 0;
          item.options.forEach((index, place) => {
            const hidden = !study.classes[index].name.toLowerCase().includes(wanted);
            options[place].hidden = hidden;
            left += hidden ? 0 : 1;
          });
          none.textContent = left === 0 ? "No class has this in its name." : "";
        },
        keydown: (event) => { if (event.key === "Enter") event.preventDefault(); },
      }), none);
    const clock = timer();
    const done = (event) => {
      event.preventDefault();
      const answer = chosen(form, "answer");
      const sure = chosen(form, "confidence");
      if (answer === null || sure === null) {
        problem.textContent = answer === null ? "Please choose a class." : "Please say how likely it is that you are right.";
        form.querySelector(answer === null ? 'input[name="answer"]' : 'input[name="confidence"]').focus();
        return;
      }
      const time = clock.stop();
      if (time === null) return;
      state.rows.push(row({
        kind, block: number, position, arm: block.arm, item: name, answer, confidence: Number(sure),
        seconds: time.seconds, hidden_seconds: time.hidden,
      }));
      next();
    };
    const form = h("form", { submit: done, novalidate: true },
      h("fieldset", null,
        h("legend", null, "Which class is it?"), filter,
        h("div", { class: "cards options", role: "radiogroup", "aria-label": "Classes" }, options)),
      scale("confidence", "How likely is it that your answer is right?", study.confidences, (value) => `${value} %`),
      problem,
      h("div", { class: "actions" }, h("button", { type: "submit" }, "Next")));
    const picture = h("img", { class: "picture", src: item.picture, alt: "The picture to judge" });
    show(heading, h("div", { class: `trial ${block.arm}` }, picture, helpOf(block.arm, item)), form);
    clock.start();
  }

  function timer() {
    let from = null;
    let hiddenFrom = null;
    let hidden = 0;
    const watch = () => {
      const now = performance.now();
      if (document.hidden) hiddenFrom = now;
      else if (hiddenFrom !== null) { hidden += now - hiddenFrom; hiddenFrom = null; }
    };
    return {
      async start() {
        await Promise.all([...main.querySelectorAll("img")].map((image) => image.decode().catch(() => null)));
        await new Promise((done) => { setTimeout(done, 0); });
        from = performance.now();
        if (document.hidden) hiddenFrom = from;
        document.addEventListener("visibilitychange", watch);
        main.dataset.ready = "yes";
      },
      stop() {
        if (from === null) return null;
        document.removeEventListener("visibilitychange", watch);
        delete main.dataset.ready;
        const rounded = (milliseconds) => Math.round(milliseconds) / 1000;
        return { seconds: rounded(performance.now() - from), hidden: rounded(hidden) };
      },
    };
  }

  function feedback(block, name) {
    const truth = study.practiceTruth[name];
    const last = state.rows[state.rows.length - 1];
    const right = Number(last.answer) === truth;
    show(
      right ? "That was right" : "That was not right",
      h("p", null, "The picture shows: ", h("strong", null, study.classes[truth].name)),
      h("p", null, "Now the pictures that count. You will not be told the right answers."),
      h("div", { class: "actions" }, button("Show the first picture", next)),
    );
  }

  function ratings() {
    const helped = Object.keys(helps).filter((arm) => arm !== "none");
    const problem = alertLine();
    const describe = (value) => (value === 1 ? "1 disagree strongly" : value === 7 ? "7 agree strongly" : String(value));
    const form = h("form", {
      novalidate: true,
      submit: (event) => {
        event.preventDefault();
        const found = [];
        for (const arm of helped) {
          for (const statement of Object.keys(study.statements)) {
            const value = chosen(form, `${arm}-${statement}`);
            if (value === null) {
              problem.textContent = "Please rate every statement.";
              form.querySelector(`input[name="${arm}-${statement}"]`).focus();
              return;
            }
            found.push(row({ kind: "rating", arm, item: statement, answer: value }));
          }
        }
        const preferred = chosen(form, "preference");
        if (preferred === null) {
          problem.textContent = "Please say which help you would choose.";
          form.querySelector('input[name="preference"]').focus();
          return;
        }
        found.push(row({ kind: "preference", item: "preference", answer: preferred }));
        state.rows.push(...found);
        next();
      },
    },
    helped.map((arm) => [
      h("h2", null, `About ${helps[arm].name}`),
      Object.entries(study.statements).map(([id, text]) => scale(`${arm}-${id}`, text, study.ratings, describe)),
    ]),
    h("h2", null, "Your choice"),
    scale("preference", "Which help would you choose for more pictures?", Object.keys(helps), (arm) => helps[arm].name),
    problem,
    h("div", { class: "actions" }, h("button", { type: "submit" }, "Next")));
    show("What you think of the help", form);
  }

  function comments() {
    const field = h("textarea", { id: "comment", maxlength: "1500" });
    const done = () => {
      if (field.value.trim()) state.rows.push(row({ kind: "comment", item: "comment", answer: field.value.trim() }));
      next();
    };
    show(
      "Anything else?",
      h("p", null, h("label", { for: "comment" }, "If you like, tell us more (please no names)")),
      field,
      h("div", { class: "actions" }, button("Finish", done)),
    );
  }

  async function finish() {
    const byServer = state.token !== null;
    const status = h("p", { role: "status" }, byServer ? "Saving your answers …" : "");
    show(
      "Thank you",
      status,
      h("div", { class: "actions" },
        button("Download my answers", download, byServer ? "plain" : ""),
        button("Remove my answers from this browser", () => {
          forget();
          status.textContent = "This browser no longer keeps your answers. You can close the page.";
        }, "plain")),
    );
    if (!byServer) {
      status.textContent = "Please download your answers, and give the file to the person who asked you.";
    } else if (await send()) {
      status.textContent = "Your answers are saved. You can close the page.";
    } else {
      status.textContent = "Your answers could not be saved by the server. Please download them, and give the file to the "
        + "person who asked you.";
    }
  }

  async function stop() {
    if (!window.confirm("Stop, and delete all your answers?")) return;
    state.rows = [row({ kind: "withdrawn", item: "withdrawn" })];
    const byServer = state.token !== null;
    const deleted = !byServer || await send();
    forget();
    steps = [];
    state.reader = null;
    show("You have stopped", h("p", null, deleted
      ? "Your answers are deleted. You can close the page."
      : "Your answers are deleted in this browser. The server could not be reached; please tell the person who asked you."));
  }

  function restore() {
    try {
      const kept = JSON.parse(localStorage.getItem(saved));
      if (kept !== null && kept.reader !== null) return kept;
    } catch (error) { /* nothing was kept */ }
    return null;
  }

  function resume(kept) {
    show(
      study.title,
      h("p", null, "This browser has kept answers of a session that isn't finished."),
      h("div", { class: "actions" },
        button("Go on with it", () => { state = kept; plan(); send(); steps[state.step](); }),
        button("Begin a new session, as another person", () => { forget(); consent(); }, "plain")),
    );
  }

  document.getElementById("stop").addEventListener("click", stop);
  const kept = restore();
  if (kept === null) consent();
  else resume(kept);
})();
