"""What a tool does, told from its name and the first sentence of its description as people would ask for it."""

from __future__ import annotations

from random import Random

import pytest

from iterft.synth import phrasing
from iterft.synth.deeds import deeds, gist


def phrases(name: str, description: str) -> str:
    return "|".join(deed.wording.replace("|", "/") for deed in deeds(name, description))


@pytest.mark.parametrize(
    ("name", "description", "wordings"),
    [
        ("log_out", "Logs out a user.", "log out a user"),
        ("log_out", "Frobs.", "log out"),
        ("sign_in", "Sign a user in.", "sign in a user"),
        ("set_up_meeting", "Set up a meeting.", "set up a meeting"),
        ("turn_off_lights", "Turns off the lights in a room.", "turn off the lights|turn off the lights in a room"),
        ("turn_lamp_off", "Turns the lamp off.", "turn the lamp off|turn off the lamp"),
        ("lamp_turn_off", "Frobs.", "turn off the lamp"),
        ("browser_go_back", "Go back to the previous page.", "go back to the previous page"),
        ("check_out_book", "Lends.", "check out the book"),
        ("check_in_guest", "Checks a guest in.", "check in the guest|check in a guest"),
        ("checkInGuest", "Check-in a guest", "check in the guest|check in a guest"),
        ("pick_up_parcel", "Frobs.", "pick up the parcel"),
        ("fill_out_form", "Frobs.", "fill out the form"),
        ("roll_back_release", "Frobs.", "roll back the release"),
        ("check_out_of_hotel", "Frobs.", "check out of the hotel"),
        ("put_on_hold", "Puts a call on hold.", "put on hold|put a call on hold"),
        ("enroll_in_course", "Frobs.", "enroll in the course"),
        ("add_to_basket", "Frobs.", "add to the basket"),
        ("convert_to_pdf", "Frobs.", "convert to pdf"),
        ("x", "Checks a guest in at the desk.", "check a guest in at the desk"),
        ("x", "Turns the device on or off.", "turn the device on or off"),
        ("x", "Command a drone to take off.", "command a drone to take off"),
        ("look_up_word", "Frobs.", "<get/look up/find/check/pull up> the word"),
        ("get_on_call_engineer", "Frobs.", "<get/look up/find/check/pull up> the on call engineer"),
        ("x", "Users in a group.", "<get/look up/find/check/pull up> the users in a group"),
        ("x", "Request time off.", "<request/ask for> time off"),
    ],
)
def test_a_verb_keeps_its_particle_and_has_no_other_ways_to_be_said(name: str, description: str, wordings: str) -> None:
    assert phrases(name, description) == wordings


@pytest.mark.parametrize(
    ("name", "description", "wordings", "plain", "of_own"),
    [
        ("remind_me", "Frobs.", "remind me", "remind you", "have you remind me"),
        ("x", "Reminds you of something", "remind me of something", "remind you of something", ""),
        ("call_me_back", "Frobs.", "call me back", "call you back", "have you call me back"),
        ("x", "Sends you a letter", "send me a letter", "send you a letter", "have you send me a letter"),
        ("x", "Shows the files you own", "<show me/get/pull up> the files I own", "show the files you own", ""),
        ("get_it_support", "Frobs.", "<get/look up/find/check/pull up> the it support", "get the it support", ""),
    ],
)
def test_persons_are_as_the_one_says_who_speaks(
    name: str, description: str, wordings: str, plain: str, of_own: str
) -> None:
    (deed,) = deeds(name, description)
    assert (phrases(name, description), deed.plain) == (wordings, plain)
    assert not of_own or deed.wording_of_own == of_own
    assert not deeds("get_me", "Frobs.")[0].is_question, "nobody asks what is me"


@pytest.mark.parametrize(
    ("name", "description", "wordings"),
    [
        ("post_invoices_by_invoice_id_pay", "Pay an invoice", "<pay/settle> an invoice"),
        ("delete_pets_by_petId", "Delete a pet", "<delete/remove/get rid of> a pet"),
        ("get_owners_search", "Search owners", "<search for/find/look for/look up> owners"),
        ("read_item_items_item_id_get", "Read one item", "<get/look up/find/check/pull up> one item"),
        ("get_user_by_mail", "Frobs.", "<get/look up/find/check/pull up> the user"),
        ("post_message", "Post a message", "<post/publish/put up> the message|<post/publish/put up> a message"),
    ],
)
def test_a_name_made_of_a_path_says_nothing_where_a_description_does(
    name: str, description: str, wordings: str
) -> None:
    assert phrases(name, description) == wordings


@pytest.mark.parametrize(
    ("name", "description", "wordings"),
    [
        ("slack_reply_to_thread", "Reply to a message thread in Slack", "reply to the thread"),
        ("grant_discount", "Give a customer a discount.", "grant the discount|give a customer a discount"),
        ("x", "Gives the weather for a city.", "<get/look up/find/check/pull up> the weather for a city"),
        ("x", "A simple calculator that performs arithmetic.", "<carry out/perform/run> arithmetic"),
        ("vector_search", "Frobs.", "<run/do> a vector search"),
        ("search_wikipedia", "Search Wikipedia for articles.", "search Wikipedia for articles"),
        ("search_wikipedia", "Frobs.", "search Wikipedia"),
        ("x", "Send an email to a person with an optional subject", "<send/send out> an email to a person"),
        ("get_usr_acct_bal", "Frobs.", "<get/look up/find/check/pull up> the user account balance"),
        ("search_flights", "Search for flights.", "<search for/find/look for/look up> flights"),
        ("x", "Cancels an order based on the provided number.", "<cancel/call off> an order"),
        ("browser_type", "Type text into a field", "type text into a field"),
        ("push_files", "Push several files to a repository", "push the files|push several files to a repository"),
        ("create_or_update_file", "Create or update a file", "create or update a file"),
        (
            "refund_create",
            "Creates a refund for a charge",
            "<create/make/set up> a refund|<create/make/set up> a refund for",
        ),
        ("pods_list_in_namespace", "Frobs.", "<list/show me/give me/get> pods in namespace"),
        ("append_children", "Frobs.", "<add/put in/insert> children"),
        ("API-patch-children", "Append children", "<add/put in/insert> children"),
        (
            "fetch",
            "Fetches a page from the web and optionally extracts its text.",
            "<get/look up/find/check/pull up> a page",
        ),
        ("x", "Get content of a specific page by its ID", "<get/look up/find/check/pull up> the content of a page"),
        ("wikipedia", "A wrapper around Wikipedia. Useful for questions.", "search Wikipedia"),
        ("google_search", "A search engine. Useful for questions.", "<run/do> a google search"),
        ("arm.moveTo", "Frobs.", "<move/shift>"),
        ("merge_pull_request", "Frobs.", "merge the pull request"),
    ],
)
def test_what_a_tool_does_is_not_taken_for_another_deed(name: str, description: str, wordings: str) -> None:
    assert phrases(name, description).startswith(wordings)


@pytest.mark.parametrize(
    ("name", "description", "thing"),
    [
        ("is_room_free", "Whether a room is free at a time.", "whether a room is free at a time"),
        ("is_room_free", "Frobs.", "whether the room is free"),
        ("is_room_free", "Is the room free?", "whether the room is free"),
        ("is_valid_email", "Frobs.", "whether it is a valid email"),
        ("has_user_paid", "Frobs.", "whether the user has paid"),
        ("can_fly", "Frobs.", "whether it can fly"),
        ("check_if_door_is_shut", "Frobs.", "whether the door is shut"),
    ],
)
def test_what_answers_yes_or_no_is_asked_whether_it_is_so(name: str, description: str, thing: str) -> None:
    (deed,) = deeds(name, description)
    assert (deed.verb, deed.thing) == ("find out", thing)


@pytest.mark.parametrize(
    ("name", "summary", "wordings"),
    [
        ("assign_ticket", "Assign Ticket", "assign the ticket"),
        ("assign_ticket_tickets__ticket_id__assign_post", "Assign Ticket", "assign the ticket"),
        ("set_up_ticket", "Set Up Ticket", "set up a ticket"),
        ("list_tickets", "Lists Tickets. All of them.", "<list/show me/give me/get> tickets"),
        ("close_tickets", "Ticket Closing", "<close/shut> the tickets"),
        (
            "get_x",
            "Get the Tickets",
            "<get/look up/find/check/pull up> the x|<get/look up/find/check/pull up> the Tickets",
        ),
    ],
)
def test_a_summary_in_capitals_is_a_name(name: str, summary: str, wordings: str) -> None:
    assert phrases(name, summary) == wordings


def test_verbs_have_no_synonyms_of_another_meaning() -> None:
    assert phrases("rotate_secret", "Frobs.") == "rotate the secret"
    assert phrases("display_message", "Frobs.") == "<display/show> the message"
    assert phrases("validate_email", "Frobs.") == "<verify/check> the email"


def test_what_the_assistant_cannot_do_is_not_said_as_to_oneself() -> None:
    (deed,) = deeds("show_calendar", "Frobs.")
    assert deed.plain == "show the calendar"


def test_the_gist_is_the_verb_and_the_noun_of_the_name() -> None:
    assert gist("set_up_meeting", "Set up a meeting.") == ("set up", "meeting")
    assert gist("Shop.drive_list_files", "Frobs.") == ("list", "files")
    assert gist("hoist_flag", "Hoists the flag.") == ("hoist", "flag")
    assert gist("remind_me", "Reminds you.") == ("remind", "")
    assert gist("get_user_by_mail", "Frobs.") == ("get", "user")
    assert gist("post_invoices_by_invoice_id_pay", "Pay an invoice") == ("pay", "invoice")


def test_what_can_be_done_is_said_to_be_all_only_where_one_tool_is_shown() -> None:
    several = {phrasing.refusal("sing", ["dance"], Random(seed), 6) for seed in range(200)}
    alone = {phrasing.refusal("sing", ["dance"], Random(seed), 1) for seed in range(200)}
    assert any("I could dance" in text for text in several) and not any("only dance" in text for text in several)
    assert any("only dance" in text for text in alone)


def test_a_text_that_is_answered_is_marked_off_from_what_is_said_around_it() -> None:
    words = "thanks for the quick help"
    replies = {phrasing.reply(words, Random(seed), is_literal=True, is_free=True) for seed in range(100)}
    assert len(replies) > 3 and all(f'"{words}"' in text or text == words for text in replies)
    assert {phrasing.reply("Oslo", Random(seed), is_literal=True) for seed in range(100)} >= {"Oslo, please", "Oslo."}
