"""`python -m amends_participants module:app`: the same as `amends-participant`."""

from amends_participants.run import main

if __name__ == "__main__":
    main()
