"""Exports of containers as Google Tag Manager writes them, from a few words."""

import json

Fields = dict[str, object]

ALL_PAGES, CONSENT_INIT = "2147479553", "2147479572"


def template(**values: str) -> list[Fields]:
    return [{"type": "TEMPLATE", "key": key, "value": value} for key, value in values.items()]


def table(key: str, **rows: str) -> Fields:
    """A table of names and values, such as the parameters of an event."""
    maps = [{"type": "MAP", "map": template(name=n, value=v)} for n, v in rows.items()]
    return {"type": "LIST", "key": key, "list": maps}


def consent(status: str) -> Fields:
    asked = {"type": "LIST", "list": [{"type": "TEMPLATE", "value": "ad_storage"}]}
    return {"consentStatus": status} | ({"consentType": asked} if status == "NEEDED" else {})


def tag(
    tag_id: str,
    kind: str,
    *parameters: Fields,
    name: str = "",
    on: tuple[str, ...] = ("5",),
    needs: str = "NEEDED",
    **fields: object,
) -> Fields:
    return {
        "accountId": "1",
        "containerId": "2",
        "tagId": tag_id,
        "name": name or f"tag {tag_id}",
        "type": kind,
        "parameter": list(parameters),
        "fingerprint": f"168{tag_id}",
        "firingTriggerId": list(on),
        "tagFiringOption": "ONCE_PER_EVENT",
        "monitoringMetadata": {"type": "MAP"},
        "consentSettings": consent(needs),
    } | fields


def html(tag_id: str, code: str, **fields: object) -> Fields:
    document = {"type": "BOOLEAN", "key": "supportDocumentWrite", "value": "false"}
    return tag(tag_id, "html", *template(html=code), document, **fields)  # type: ignore[arg-type]


def ga4(tag_id: str, account: str = "G-ABC", **fields: object) -> Fields:
    return tag(tag_id, "googtag", *template(tagId=account), **fields)  # type: ignore[arg-type]


def trigger(trigger_id: str, **fields: object) -> Fields:
    same = {"type": "EQUALS", "parameter": template(arg0="{{_event}}", arg1="sign_up")}
    shared: Fields = {"accountId": "1", "containerId": "2", "triggerId": trigger_id}
    return (
        shared
        | {
            "name": f"trigger {trigger_id}",
            "type": "CUSTOM_EVENT",
            "customEventFilter": [same],
            "fingerprint": "1",
        }
        | fields
    )


def variable(variable_id: str, kind: str, name: str, /, **values: str) -> Fields:
    return {
        "accountId": "1",
        "containerId": "2",
        "variableId": variable_id,
        "name": name,
        "type": kind,
        "parameter": template(**values),
        "fingerprint": "1",
        "formatValue": {},
    }


def permission(name: str, *urls: str, write: bool = False) -> Fields:
    """What a custom template may do, as its permissions say it."""
    listed = [{"type": 1, "string": url} for url in urls]
    said = [{"key": "urls", "value": {"type": 2, "listItem": listed}}]
    rights = {"consentType": "ad_storage", "read": True, "write": write}
    access = {
        "type": 3,
        "mapKey": [{"type": 1, "string": key} for key in rights],
        "mapValue": [
            {"type": 8, "boolean": value}
            if isinstance(value, bool)
            else {"type": 1, "string": value}
            for value in rights.values()
        ],
    }
    if not urls:
        said = [{"key": "consentTypes", "value": {"type": 2, "listItem": [access]}}]
    return {"instance": {"key": {"publicId": name, "versionId": "1"}, "param": said}}


def custom_template(template_id: str, *permissions: Fields, **fields: object) -> Fields:
    data = (
        "___INFO___\n\n{}\n\n___SANDBOXED_JS_FOR_WEB_TEMPLATE___\n\n"
        "injectScript('https://code.example/a.js');\n\n___WEB_PERMISSIONS___\n\n"
        f"{json.dumps(permissions, indent=2)}\n\n\n___TESTS___\n\nscenarios: []\n"
    )
    return {
        "accountId": "1",
        "containerId": "2",
        "templateId": template_id,
        "name": f"template {template_id}",
        "templateData": data,
    } | fields


def export(*tags: Fields, usage: str = "WEB", **parts: object) -> str:
    """An export; trigger 5 exists unless said otherwise."""
    version: Fields = {
        "path": "accounts/1/containers/2/versions/7",
        "accountId": "1",
        "containerId": "2",
        "containerVersionId": "7",
        "container": {"publicId": "GTM-ABC123", "usageContext": [usage]},
        "tag": list(tags),
        "trigger": [trigger("5")],
        "builtInVariable": [
            {"accountId": "1", "containerId": "2", "type": "PAGE_URL", "name": "Page URL"}
        ],
    }
    whole: Fields = {"exportFormatVersion": 2, "exportTime": "2026-11-01 10:00:00"}
    return json.dumps(whole | {"containerVersion": version | parts})
