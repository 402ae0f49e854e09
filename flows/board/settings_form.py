"""The settings of a profile as a form: the fields of a section are made when it is opened."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from flows.board.errors import handler
from flows.board.html import escaped
from flows.board.launch import command_line, run_arguments
from flows.profiles.form import (
    NULL,
    FormField,
    FormSection,
    as_yaml,
    form_sections,
    form_values,
    overrides_of,
)
from flows.profiles.load import load_profile
from flows.profiles.profile import Profile
from tasks.errors import UsageError

Changed = dict[str, str]
"""Settings that a person has changed, and to what, as it stands after `--set KEY=`."""

MARK = "●"
LONG = 60  # characters of a value from which on it has several lines


class SettingsForm:
    """The sections, and what stands beside them: what differs, the YAML and the command line."""

    def __init__(
        self, profile: gr.Dropdown, changed: gr.State, beside: Sequence[gr.components.Component]
    ) -> None:
        self.profile = profile
        self.changed = changed
        self.beside = beside
        self.sections = {section.name: self._section(section) for section in form_sections()}
        profile.change(
            handler(self._profile_chosen),
            [profile],
            [changed, *beside, *self.sections.values()],
            show_progress="hidden",
        )

    def _section(self, section: FormSection) -> gr.Accordion:
        with gr.Accordion(section.name, open=False, visible=False) as accordion:
            gr.Markdown(section.meaning, elem_classes="meaning")

            @gr.render([self.profile, self.changed], triggers=[accordion.expand], show_progress="hidden")
            def fields(profile: str | None, changed: Changed) -> None:
                if profile is None:
                    return
                values = form_values(load_profile(profile))
                for field in section.fields:
                    self._add(field, values[field.key], changed.get(field.key), section, accordion)

        return accordion

    def _add(
        self, field: FormField, given: str, own: str | None, section: FormSection, accordion: gr.Accordion
    ) -> None:
        component = component_of(field, given, own)
        component.change(
            handler(partial(self._field_changed, field, given, section)),
            [component, self.profile, self.changed],
            [self.changed, component, accordion, *self.beside],
            show_progress="hidden",
            trigger_mode="always_last",
        )

    def _field_changed(
        self, field: FormField, given: str, section: FormSection, value: Any, profile: str, changed: Changed
    ) -> list[Any]:
        """Two changes may be on their way at once, so what was changed is kept in the same mapping."""
        own = text_of(field, value)
        if own == given:
            changed.pop(field.key, None)
        else:
            changed[field.key] = own
        return [
            changed,
            gr.update(
                label=label_of(field, given, changed.get(field.key)),
                elem_classes=classes_of(changed.get(field.key)),
            ),
            gr.update(label=title_of(section, changed)),
            *beside(profile, changed),
        ]

    def _profile_chosen(self, profile: str | None) -> list[Any]:
        if profile is None:
            return [{}, *beside(None, {}), *(gr.update(visible=False) for _ in self.sections)]
        used = used_sections(load_profile(profile))
        return [
            {},
            *beside(profile, {}),
            *(gr.update(label=name, open=False, visible=name in used) for name in self.sections),
        ]


def used_sections(profile: Profile) -> set[str]:
    """The sections that change what a profile does, and those that it could have."""
    could_have = {section.name for section in form_sections() if section.fields[0].kind == "section"}
    return {section.name for section in form_sections()} - profile.unused_stages() | could_have


def component_of(field: FormField, given: str, own: str | None) -> gr.components.Component:
    """A field with what the profile has, or with what a person has written instead."""
    value = given if own is None else own
    is_picked = field.kind in ("flag", "section", "choice")
    told = {
        "label": label_of(field, given, own),
        "info": field.meaning if is_picked else f"{field.meaning} ({field.type})",
        "interactive": True,
        "elem_classes": classes_of(own),
    }
    if field.kind in ("flag", "section"):
        return gr.Checkbox(value == "true", **told)
    if field.kind == "choice":
        return gr.Dropdown(list(field.choices), value=value, **told)
    if is_number(field):
        number = float(value) if value else None
        return gr.Number(int(number) if number is not None and number.is_integer() else number, **told)
    return gr.Textbox(value, lines=3 if len(value) > LONG else 1, **told)


def is_number(field: FormField) -> bool:
    """Whether it is entered as a number: Gradio shows 0 for one that is left out."""
    return field.kind == "number" and not field.is_optional


def text_of(field: FormField, value: Any) -> str:
    """What a component holds, as it stands after `--set KEY=`."""
    if field.kind in ("flag", "section"):
        return "true" if value else "false"
    if value is None:
        return NULL if field.is_optional else ""
    if is_number(field):
        return str(int(value) if float(value).is_integer() else value)
    return str(value)


def label_of(field: FormField, given: str, own: str | None) -> str:
    """The key within its section, marked where a person has changed it."""
    key = field.key.partition(".")[2] or field.key
    return key if own is None else f"{key} {MARK} the profile has {given or 'nothing'}"


def classes_of(own: str | None) -> list[str]:
    """By which the page marks a field that a person has changed."""
    return ["setting"] if own is None else ["setting", "changed"]


def title_of(section: FormSection, changed: Mapping[str, str]) -> str:
    """A section's name, with how many of its settings were changed."""
    count = sum(field.key in changed for field in section.fields)
    return f"{section.name} {MARK} {count} changed" if count else section.name


def beside(profile: str | None, changed: Mapping[str, str]) -> list[Any]:
    """What stands beside the form: what differs or what is wrong, the YAML, the command line."""
    if profile is None:
        return ["", "", ""]
    overrides = overrides_of(changed)
    command = command_line(run_arguments(profile, overrides))
    try:
        text = as_yaml(profile, overrides)
    except UsageError as error:
        return [f'<p class="wrong">{escaped(str(error))}</p>', "", command]
    return [_differences(overrides), text, command]


def _differences(overrides: Sequence[str]) -> str:
    if not overrides:
        return "<p>The profile as it is.</p>"
    rows = "".join(f"<li><code>{escaped(override)}</code></li>" for override in overrides)
    return f"<p>Differs from the profile:</p><ul>{rows}</ul>"
